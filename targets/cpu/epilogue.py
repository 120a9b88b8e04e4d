"""Collects what fusion put behind an anchor, so that it runs on each tile while the tile is still in registers."""

from __future__ import annotations

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV
from tvm_ffi import structural_equal

from lepton_compiler.targets.cpu.block_analysis import BlockInfo, describe_block, root_blocks


def find_anchor(sch: Schedule, anchor: str) -> BlockInfo:
    """The first block that the legalization marked as ``anchor``; there is one."""
    return next(info for info in root_blocks(sch) if info.anchor == anchor)


def gather_epilogue(sch: Schedule, anchor: SBlockRV) -> BlockInfo:
    """Inlines the elementwise stages behind ``anchor`` into the last one that covers the same elements.

    Args:
        sch: The schedule.
        anchor: The block that computes sums; it has exactly one consumer that copies them to their final layout, or
            writes the final layout itself and has elementwise consumers.

    Returns:
        The one block that now reads the anchor's result. Stages behind it that cover other elements (a broadcast to a
        larger tensor) stay as they are.
    """
    names = [info.name for info in root_blocks(sch)]
    start = names.index(sch.get(anchor).name_hint)
    chain: list[BlockInfo] = []
    for name in names[start + 1 :]:
        info = describe_block(sch, sch.get_sblock(name))
        if info.is_opaque or info.is_reduction or (chain and not _same_extents(sch, chain[0], info)):
            break
        chain.append(info)
    last = _inline_all(sch, chain)
    return describe_block(sch, sch.get_sblock(last))


def _inline_all(sch: Schedule, chain: list[BlockInfo]) -> str:
    """Inlines each stage that only later stages of ``chain`` read; stops at the first one that others need."""
    inside = {info.name for info in chain}
    for info in chain[:-1]:
        consumers = {sch.get(block).name_hint for block in sch.get_consumers(info.block)}
        if not consumers or not consumers <= inside:
            return info.name
        sch.compute_inline(info.block)
    return chain[-1].name


def _same_extents(sch: Schedule, first: BlockInfo, second: BlockInfo) -> bool:
    if len(first.axes) != len(second.axes):
        return False
    return all(
        structural_equal(sch.get(one.loop).extent, sch.get(other.loop).extent)
        for one, other in zip(first.axes, second.axes, strict=True)
    )
