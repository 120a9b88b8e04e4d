"""Channels of packed activations put together anew: concatenations and slices that cut through vectors.

    for n, row                                                   parallel
      for part
        for piece of g channels                                  g divides v, and every place where a part begins
          out[n, (to + i) / v, row, :, (to + i) % v + lanes] = part[n, (at + i) / v, row, :, (at + i) % v + lanes]

Written as loops over the pieces of each part, so that no element needs a condition. Each row of a block is in the first
cache when the second half of its vectors is filled in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx
from tvm.script.ir_builder import tirx as T

from lepton_compiler.core.tensor_expressions import te_written

FEWEST_TOGETHER = 4
"""Channels of the smallest piece for which this is faster than leaving the packed layout."""


@dataclass(frozen=True)
class ChannelRange:
    """Channels ``first`` to ``first + count - 1`` of one tensor."""

    first: int
    count: int


def smallest_piece(parts: Sequence[ChannelRange], lanes: int) -> int:
    """Channels of the smallest piece that parts have to be cut into when they are put one behind the other."""
    end, smallest = 0, lanes
    for part in parts:
        smallest = min(smallest, _piece(part, end, lanes))
        end += part.count
    return smallest


def _piece(part: ChannelRange, to: int, lanes: int) -> int:
    return math.gcd(lanes, part.first, part.count, to)


def gather_channels(tensors: Sequence[te.Tensor], parts: Sequence[ChannelRange]) -> te.Tensor:
    """Puts ranges of channels one behind the other.

    Args:
        tensors: ``[n, C/v, *spatial, v]``, one a part.
        parts: Which channels of each.

    Returns:
        ``[n, ceil(sum of counts / v), *spatial, v]``; channels that fill the last vector are zeros.
    """
    batch, _, rows, *columns, lanes = tensors[0].shape
    total, lanes = sum(part.count for part in parts), int(lanes)
    blocks = -(-total // lanes)
    width = math.prod(columns, start=tirx.IntImm("int64", 1))

    def write(*buffers: Any) -> None:
        *sources, results = buffers
        with T.parallel(0, batch * rows) as place:
            n, row = place // rows, place % rows

            def start(block: Any, of: int) -> Any:
                return ((n * of + block) * rows + row) * width * lanes

            end = 0
            for elements, tensor, part in zip(sources, tensors, parts, strict=True):
                size = _piece(part, end, lanes)
                of = int(tensor.shape[1])
                for_pieces = (T.serial(0, part.count // size), T.serial(0, width), T.vectorized(0, size))
                with for_pieces[0] as piece, for_pieces[1] as column, for_pieces[2] as lane:
                    at, to = part.first + piece * size, end + piece * size
                    offset = column * lanes + lane
                    value = elements[start(at // lanes, of) + at % lanes + offset]
                    results[start(to // lanes, blocks) + to % lanes + offset] = value
                end += part.count
            rest = blocks * lanes - total
            if rest:
                with T.serial(0, width) as column, T.serial(0, rest) as lane:
                    place = start(blocks - 1, blocks) + column * lanes + lanes - rest + lane
                    results[place] = tirx.const(0, tensors[0].dtype)

    return te_written("gather_channels", tensors, [batch, blocks, rows, *columns, lanes], tensors[0].dtype, write)
