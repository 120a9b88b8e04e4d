"""Attention as one kernel: a block of query rows sees all keys, and its scores never leave the nearest cache.

    for batch, head, chunk of rows                                  parallel
      keys[block, dim, lane], values[key, dim] = packed             once, in the core's second cache
      for tile of query rows
        scores[row, key] = sum over dim of query * keys             a register tile of rows by vectors of keys
        scores = scores * scale + mask;  largest of each row        while they are still in registers
        scores = exp(scores - largest);  total of each row
        output[row, dim] = sum over keys of scores * values / total a register tile of rows by vectors of dims

The result is written where the tokens' features of all heads lie next to each other. Softmax needs no rescaling as in
Dao et al., "FlashAttention", arXiv:2205.14135, because all scores of a few rows fit into the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from lepton_compiler.targets.cpu.register_tile import RegisterTile
from lepton_compiler.targets.cpu.vector_math import exp_of_nonpositive

ANCHOR = "attention"


@dataclass(frozen=True)
class Strides:
    """Where the elements of an operand lie in memory, in elements: ``offset + sum of index * stride``.

    Attributes:
        offset: Place of the first element.
        batch: Distance of neighbours along the batch; 0 where the operand is repeated, as for the others.
        head: Along the heads.
        row: Along the tokens.
        column: Along a head's features, or along the keys of a mask.
    """

    offset: int
    batch: int
    head: int
    row: int
    column: int

    def at(self, batch: Any, head: Any, row: Any, column: Any) -> Any:
        """Place of an element."""
        return self.offset + batch * self.batch + head * self.head + row * self.row + column * self.column


@dataclass(frozen=True)
class AttentionShape:
    """What one kernel computes.

    Attributes:
        batch: Number of sequences.
        heads: Number of heads.
        queries: Tokens that ask.
        keys: Tokens that are asked.
        dim: Features of a head in queries and keys.
        value_dim: Features of a head in values and in the result.
        scale: Factor of the scores.
        query: Layout of the queries.
        key: Layout of the keys.
        value: Layout of the values.
        output: Layout of the result.
        mask: Layout of what is added to the scaled scores, None where nothing is.
    """

    batch: int
    heads: int
    queries: int
    keys: int
    dim: int
    value_dim: int
    scale: float
    query: Strides
    key: Strides
    value: Strides
    output: Strides
    mask: Strides | None = None


@dataclass(frozen=True)
class AttentionKnobs:
    """What can be chosen.

    Attributes:
        tile: Rows and most vectors of a register tile.
        chunks: Pieces that the query rows of a head are cut into, for cores; each packs keys and values anew.
        lanes: Elements of a vector.
    """

    tile: RegisterTile
    chunks: int
    lanes: int

    def __str__(self) -> str:
        return f"tile_rows={self.tile.rows} tile_vectors={self.tile.vectors} chunks={self.chunks} lanes={self.lanes}"


def attention(shape: AttentionShape, knobs: AttentionKnobs, *operands: te.Tensor) -> te.Tensor:
    """The kernel.

    Args:
        shape: What to compute.
        knobs: How.
        operands: Queries, keys, values and, if there is one, the mask; each a flat tensor with one axis.

    Returns:
        A flat tensor with ``batch * heads * queries * value_dim`` elements.
    """

    def body(inputs: Sequence[Any], outputs: Sequence[Any]) -> tirx.Stmt:
        return _Emitter(shape, knobs, inputs, outputs[0]).function()

    size = shape.batch * shape.heads * shape.queries * shape.value_dim
    attrs = {"lepton.anchor": ANCHOR, "lepton.schedule": str(knobs)}
    result = te.extern((size,), list(operands), body, name=ANCHOR, dtype="float32", attrs=attrs)
    assert isinstance(result, te.Tensor)
    return result


class _Emitter:
    """Writes the loops; the methods follow the order of execution."""

    def __init__(self, shape: AttentionShape, knobs: AttentionKnobs, inputs: Sequence[Any], output: Any) -> None:
        self.shape, self.lanes, self.chunks = shape, knobs.lanes, knobs.chunks
        self.rows, self.most_vectors = knobs.tile.rows, knobs.tile.vectors
        self.query, self.key, self.value, *mask = inputs
        self.mask = mask[0] if mask else None
        self.output = output
        self.key_vectors = -(-shape.keys // self.lanes)
        self.value_vectors = -(-shape.value_dim // self.lanes)
        self.width = self.key_vectors * self.lanes

    def function(self) -> Any:
        """All heads."""
        s = self.shape
        tiles = -(-s.queries // self.rows)
        per_chunk = -(-tiles // self.chunks)
        with IRBuilder() as builder, T.parallel(0, s.batch * s.heads * self.chunks) as piece:
            pair = tirx.floordiv(piece, self.chunks)
            batch, head = tirx.floordiv(pair, s.heads), tirx.floormod(pair, s.heads)
            first = tirx.floormod(piece, self.chunks) * per_chunk
            self._pack(batch, head)
            self.scores = T.alloc_buffer((self.rows * self.width,), "float32")
            self.added = T.alloc_buffer((self._mask_rows() * self.width,), "float32") if self.mask is not None else None
            if self.added is not None and self._mask_rows() == 1:
                self._copy_mask(batch, head, 0, 1)
            whole, rest = divmod(s.queries, self.rows)
            with T.serial(0, tirx.min(per_chunk, tirx.max(whole - first, 0))) as tile:
                self._tile(batch, head, (first + tile) * self.rows, self.rows)
            if rest and self.chunks == 1:
                self._tile(batch, head, whole * self.rows, rest)
            elif rest:
                with T.If(first + per_chunk > whole), T.Then(), T.If(first <= whole), T.Then():
                    self._tile(batch, head, whole * self.rows, rest)
        return builder.get()

    def _mask_rows(self) -> int:
        """Rows of the mask that a tile needs: one where all queries share it."""
        return self.rows if self.shape.mask is not None and self.shape.mask.row else 1

    def _pack(self, batch: Any, head: Any) -> None:
        """Keys in vectors of neighbouring tokens, values in whole vectors of features; what is missing is 0."""
        s, lanes = self.shape, self.lanes
        self.keys = T.alloc_buffer((self.key_vectors * s.dim * lanes,), "float32")
        self.values = T.alloc_buffer((s.keys * self.value_vectors * lanes,), "float32")

        def pack_block(block: Any, count: int) -> None:
            with T.serial(0, s.dim) as d:
                with T.vectorized(0, count) as token:
                    place = s.key.at(batch, head, block * lanes + token, d)
                    T.buffer_store(self.keys, self.key[place], [(block * s.dim + d) * lanes + token])
                for token in range(count, lanes):
                    T.buffer_store(self.keys, _float(0), [(block * s.dim + d) * lanes + token])

        whole, rest = divmod(s.keys, lanes)
        with T.serial(0, whole) as block:
            pack_block(block, lanes)
        if rest:
            pack_block(whole, rest)
        with T.serial(0, s.keys) as token:
            start = token * self.value_vectors * lanes
            with T.serial(0, s.value_dim) as d:
                T.buffer_store(self.values, self.value[s.value.at(batch, head, token, d)], [start + d])
            if s.value_dim % lanes:
                with T.serial(s.value_dim, self.value_vectors * lanes) as d:
                    T.buffer_store(self.values, _float(0), [start + d])

    def _copy_mask(self, batch: Any, head: Any, row: Any, count: int) -> None:
        """Rows of the mask, each filled up to whole vectors, which are not used there."""
        assert self.shape.mask is not None
        for r in range(count):
            with T.serial(0, self.shape.keys) as j:
                place = self.shape.mask.at(batch, head, row + r, j)
                T.buffer_store(self.added, self.mask[place], [r * self.width + j])

    def _tile(self, batch: Any, head: Any, row: Any, rows: int) -> None:
        """One tile of query rows, from its scores to its output."""
        lanes = self.lanes
        if self._mask_rows() > 1:
            self._copy_mask(batch, head, row, rows)
        largest = T.alloc_buffer((rows * lanes,), "float32", scope="local")
        for r in range(rows):
            with T.vectorized(0, lanes) as lane:
                T.buffer_store(largest, _float(float("-inf")), [r * lanes + lane])
        self._groups(self.key_vectors, lambda group, width: self._scores(batch, head, row, rows, group, width, largest))
        total = T.alloc_buffer((rows * lanes,), "float32", scope="local")
        tops = [self._reduce(largest, r, _larger) for r in range(rows)]
        for r in range(rows):
            self._exponentials(r, tops[r], total)
        factors = [self._reduce(total, r, lambda a, b: a + b) for r in range(rows)]
        self._groups(self.value_vectors, lambda group, width: self._mix(batch, head, row, rows, group, width, factors))

    def _groups(self, vectors: int, emit: Callable[[Any, int], None]) -> None:
        """Cuts ``vectors`` into as few groups as fit a register tile, as even as possible."""
        count = -(-vectors // self.most_vectors)
        narrow, wide = divmod(vectors, count)
        # The last vector may be partial, so it has code of its own.
        plan = [(0, wide, narrow + 1), (wide * (narrow + 1), count - wide, narrow)]
        start, number, width = plan[1]
        last = start + (number - 1) * width
        for begin, groups, size in (plan[0], (start, number - 1, width)):
            if groups > 0:
                with T.serial(0, groups) as group:
                    emit(begin + group * size, size)
        emit(last, width)

    def _scores(self, batch: Any, head: Any, row: Any, rows: int, group: Any, vectors: int, largest: Any) -> None:
        s, lanes = self.shape, self.lanes

        def operands(d: Any) -> tuple[list[Any], Callable[[int, Any], Any]]:
            scalars = [self.query[s.query.at(batch, head, row + r, d)] for r in range(rows)]
            return scalars, lambda v, lane: self.keys[((group + v) * s.dim + d) * lanes + lane]

        sums = self._product(s.dim, rows, vectors, operands)
        for r in range(rows):
            for v in range(vectors):
                is_last = isinstance(group, int) and group + v == self.key_vectors - 1 and s.keys % lanes != 0
                with T.vectorized(0, lanes) as lane:
                    value = sums[(r * vectors + v) * lanes + lane] * _float(s.scale)
                    if self.added is not None:
                        start = (r if self._mask_rows() > 1 else 0) * self.width
                        value = value + self.added[start + (group + v) * lanes + lane]
                    if is_last:
                        value = tirx.Select(lane < s.keys % lanes, value, _float(float("-inf")))
                    T.buffer_store(self.scores, value, [r * self.width + (group + v) * lanes + lane])
                with T.vectorized(0, lanes) as lane:
                    score = self.scores[r * self.width + (group + v) * lanes + lane]
                    T.buffer_store(largest, _larger(score, largest[r * lanes + lane]), [r * lanes + lane])

    def _product(self, steps: int, rows: int, vectors: int, operands: Callable[[Any], Any]) -> Any:
        """Sums of a register tile over ``steps``, as a local buffer ``[rows, vectors, lanes]``."""
        lanes = self.lanes
        sums = T.alloc_buffer((rows * vectors * lanes,), "float32", scope="local")
        for i in range(rows * vectors):
            with T.vectorized(0, lanes) as lane:
                T.buffer_store(sums, _float(0), [i * lanes + lane])

        def step(k: Any) -> None:
            scalars, vector = operands(k)
            for r in range(rows):
                for v in range(vectors):
                    place = (r * vectors + v) * lanes
                    with T.vectorized(0, lanes) as lane:
                        T.buffer_store(sums, sums[place + lane] + scalars[r] * vector(v, lane), [place + lane])

        unrolled = 4 if steps >= 8 else 1
        with T.serial(0, steps // unrolled) as block:
            for u in range(unrolled):
                step(block * unrolled + u)
        for k in range(steps - steps % unrolled, steps):
            step(k)
        return sums

    def _exponentials(self, r: int, top: Any, total: Any) -> None:
        lanes = self.lanes
        with T.vectorized(0, lanes) as lane:
            T.buffer_store(total, _float(0), [r * lanes + lane])
        with T.serial(0, self.key_vectors) as vector:
            with T.vectorized(0, lanes) as lane:
                place = r * self.width + vector * lanes + lane
                T.buffer_store(self.scores, exp_of_nonpositive(self.scores[place] - top), [place])
            with T.vectorized(0, lanes) as lane:
                weight = self.scores[r * self.width + vector * lanes + lane]
                T.buffer_store(total, total[r * lanes + lane] + weight, [r * lanes + lane])

    def _reduce(self, buffer: Any, r: int, combine: Callable[[Any, Any], Any]) -> Any:
        """Combines the lanes of a row, halving the vector until one is left."""
        half = self.lanes // 2
        while half:
            with T.vectorized(0, half) as lane:
                low = r * self.lanes + lane
                T.buffer_store(buffer, combine(buffer[low], buffer[low + half]), [low])
            half //= 2
        return buffer[r * self.lanes]

    def _mix(self, batch: Any, head: Any, row: Any, rows: int, group: Any, vectors: int, totals: list[Any]) -> None:
        s, lanes = self.shape, self.lanes

        def operands(j: Any) -> tuple[list[Any], Callable[[int, Any], Any]]:
            scalars = [self.scores[r * self.width + j] for r in range(rows)]
            return scalars, lambda v, lane: self.values[(j * self.value_vectors + group + v) * lanes + lane]

        sums = self._product(s.keys, rows, vectors, operands)
        for r in range(rows):
            inverse = _float(1) / totals[r]
            for v in range(vectors):
                is_last = isinstance(group, int) and group + v == self.value_vectors - 1
                count = s.value_dim - (self.value_vectors - 1) * lanes if is_last else lanes
                with T.vectorized(0, count) as lane:
                    place = s.output.at(batch, head, row + r, (group + v) * lanes + lane)
                    T.buffer_store(self.output, sums[(r * vectors + v) * lanes + lane] * inverse, [place])


def _larger(a: Any, b: Any) -> Any:
    """The larger one; NaN where ``b`` is."""
    return tirx.Select(a > b, a, b)


def _float(value: float) -> tirx.FloatImm:
    return tirx.FloatImm("float32", value)
