"""Elementwise and data-moving functions: one pass over the output, in vectors along its contiguous axis.

    fuse the innermost axes that every operand walks through in the same order
    for pieces of the outer axes                  parallel where the tensor is large
      for vectors in the fused axis               the last one narrower
        output[lanes] = f(inputs[lanes])

Axes along which an operand jumps (a broadcast channel, the border of a concatenation, a gather's index) stay loops of
their own, so that the innermost loop needs neither a division nor a condition for each element.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import TensorRegion, Var
from tvm.ir.expr import TensorLoad
from tvm.s_tir import SBlock, Schedule
from tvm.s_tir.schedule import LoopRV
from tvm_ffi import WalkResult, structural_equal, structural_walk

from lepton_compiler.targets.cpu.block_analysis import Axis, BlockInfo, element_bits, iterations, uses
from lepton_compiler.targets.cpu.loop_tail import peel_tail
from lepton_compiler.targets.cpu.parallel_grain import PARALLEL_THRESHOLD, is_worth_sharing, parallelize_outer
from lepton_compiler.targets.spec import TargetSpec

_MOST_NEIGHBOURS = 16
"""Elements of an operand's last dimension that are worth keeping near."""
SHORTEST_VECTOR_LOOP = 4
"""Iterations below which a loop stays scalar."""


@dataclass(frozen=True)
class ElementwiseKnobs:
    """What can be chosen.

    Attributes:
        lanes: Elements of one vector.
        pieces: Parallel pieces where all axes are fused into one.
    """

    lanes: int
    pieces: int


def default_knobs(elements: int | None, bits: int, spec: TargetSpec) -> ElementwiseKnobs:
    """Full registers, and pieces of at least a quarter of what is worth sharing."""
    pieces = 64 if elements is None else max(1, min(64, elements * 4 // PARALLEL_THRESHOLD))
    return ElementwiseKnobs(spec.vector_lanes(max(bits, 8)), pieces)


def schedule_elementwise(
    sch: Schedule, info: BlockInfo, spec: TargetSpec, knobs: ElementwiseKnobs | None = None
) -> str:
    """Schedules one block whose axes are all independent; returns what was done."""
    chosen = knobs or default_knobs(iterations(info.axes), element_bits(sch, info), spec)
    share = is_worth_sharing(info.axes)
    count = _fusable_axes(sch, info)
    loops = [axis.loop for axis in info.axes]
    if count == 0:
        return "parallel" if share and parallelize_outer(sch, loops) is not None else "serial"
    outer = loops[: len(loops) - count]
    inner = sch.fuse(*loops[len(loops) - count :]) if count > 1 else loops[-1]
    extent = sch.get(inner).extent
    size = int(extent) if isinstance(extent, tirx.IntImm) else None
    if size is not None and size < SHORTEST_VECTOR_LOOP:
        return "parallel" if share and outer and parallelize_outer(sch, outer) is not None else "serial"
    if outer or not share:
        vectors, lane = sch.split(inner, [None, chosen.lanes])
        done = size is not None and size % chosen.lanes == 0
    else:
        piece, vectors, lane = sch.split(inner, [chosen.pieces, None, chosen.lanes])
        outer = [piece]
        done = size is not None and size % (chosen.pieces * chosen.lanes) == 0
    tiled = len(outer) + count == len(loops) and _turn_in_tiles(sch, info, outer, [vectors, lane])
    sch.vectorize(lane)
    if not done:
        peel_tail(sch, vectors)
    parallel = share and outer and parallelize_outer(sch, outer) is not None
    return f"vectors of {chosen.lanes}" + (" in tiles" if tiled else "") + (" parallel" if parallel else "")


def _turn_in_tiles(sch: Schedule, info: BlockInfo, outer: list[LoopRV], inner: list[LoopRV]) -> bool:
    """Moves the axis along which a transposed operand is contiguous inside, where its lines are near.

    An output vector reads one element of many lines; the next elements of these lines belong to the neighbours along
    that axis. What stays outside stays in ``outer``; ``inner`` are the loop over vectors and that over lanes.
    """
    reads = sch.get(info.block).reads
    near = [i for i, axis in enumerate(info.axes[: len(outer)]) if any(_ends_with(region, axis) for region in reads)]
    if not near:
        return False
    vectors, lane = inner
    sch.reorder(*outer[near[0] + 1 :], vectors, outer[near[0]], lane)
    del outer[near[0]]
    return True


def _ends_with(region: TensorRegion, axis: Axis) -> bool:
    """Whether an operand's last dimension is an axis, and so short that its lines are one or two of the cache's."""
    if not region.region or axis.extent is None:
        return False
    return region.region[-1].min.same_as(axis.variable) and 1 < axis.extent <= _MOST_NEIGHBOURS


def _fusable_axes(sch: Schedule, info: BlockInfo) -> int:
    """How many of the innermost axes can be one loop; 0 where the last axis is not contiguous in the output."""
    node = sch.get(info.block)
    count = 0
    for width in range(1, len(info.axes) + 1):
        suffix = info.axes[len(info.axes) - width :]
        variables = [axis.variable for axis in suffix]
        if not all(_walks(sch, region, suffix) for region in node.writes):
            break
        reads_fit = all(_walks(sch, region, suffix) or _ignores(region, variables) for region in node.reads)
        if width > 1 and not (reads_fit and not _computes_with(node, variables)):
            break
        if width > 1 and not _can_divide(sch, suffix):
            break
        count = width
    return count


def _can_divide(sch: Schedule, suffix: tuple[Axis, ...]) -> bool:
    """Whether TVM can divide the fused axis up again: it can't where anything stands in front of a computed size."""
    outermost, *others = (sch.get(axis.loop).extent for axis in suffix)
    is_one = isinstance(outermost, tirx.IntImm) and int(outermost) == 1
    return is_one or all(isinstance(size, tirx.IntImm | tirx.Var) for size in others)


def _walks(sch: Schedule, region: TensorRegion, suffix: tuple[Axis, ...]) -> bool:
    """Whether the last indices are exactly these axes, in order, and all but the first cover their whole dimension."""
    if len(region.region) < len(suffix):
        return False
    split = len(region.region) - len(suffix)
    indices = [part.min for part in region.region]
    in_order = all(index.same_as(axis.variable) for index, axis in zip(indices[split:], suffix, strict=True))
    whole = all(
        structural_equal(size, sch.get(axis.loop).extent)
        for size, axis in zip(list(region.source.shape)[split + 1 :], suffix[1:], strict=True)
    )
    return in_order and whole and not any(uses(index, axis.variable) for index in indices[:split] for axis in suffix)


def _ignores(region: TensorRegion, variables: list[Var]) -> bool:
    return not any(uses(part.min, variable) for part in region.region for variable in variables)


def _computes_with(node: SBlock, variables: list[Var]) -> bool:
    """Whether values depend on the axes themselves, as in a concatenation's condition, beyond addressing operands."""
    found: list[Var] = []

    def note(variable: Var) -> None:
        if any(variable.same_as(other) for other in variables):
            found.append(variable)

    def in_value(store: tirx.BufferStore) -> None:
        callbacks = [(TensorLoad, lambda load: WalkResult.SKIP), (Var, note)]
        structural_walk(store.value, callbacks, order="pre")

    structural_walk(node.body, (tirx.BufferStore, in_value))
    return bool(found)
