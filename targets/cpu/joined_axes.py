"""Joins neighbouring axes of a block into one, so that a tile may run across their borders."""

from __future__ import annotations

from tvm import s_tir, tirx
from tvm.s_tir import Schedule

from lepton_compiler.targets.cpu.block_analysis import BlockInfo


def join_axes(sch: Schedule, info: BlockInfo, first: int, end: int) -> Schedule:
    """Replaces the axes ``first`` to ``end - 1`` of a block by one that counts their elements in row-major order.

    Returns:
        A new schedule of the function with simplified indices; handles of the old one are void, names are kept.
    """
    sizes = [sch.get(axis.loop).extent for axis in info.axes]
    joined = [i for i in range(first, end) if not (isinstance(sizes[i], tirx.IntImm) and int(sizes[i]) == 1)]

    def number(*index: tirx.Var) -> tuple[tirx.Expr, ...]:
        # Axes of size 1 are left out: TVM would not see through the divisions that they leave behind.
        row = tirx.IntImm(str(sizes[first].ty.dtype), 0)
        for i in joined:
            row = index[i] if i == joined[0] else row * sizes[i] + index[i]
        return (*index[:first], row, *index[end:])

    dtype = str(sizes[first].ty.dtype)
    sch.transform_block_layout(info.block, tirx.IndexMap.from_func(number, ndim=len(sizes), index_dtype=dtype))
    # What remains of "r // 30 * 30 + r % 30" would hide from compute_at which part of the sums a tile reads.
    return Schedule(s_tir.transform.StmtSimplify()(sch.mod), debug_mask="none", error_render_level="fast")
