"""Inlines elementwise stages into their readers, so that no intermediate tensor is stored."""

from __future__ import annotations

from collections.abc import Collection

from tvm.ir import Call
from tvm.s_tir import SBlock, Schedule, ScheduleError
from tvm_ffi import structural_walk

from lepton_compiler.targets.cpu.block_analysis import CONDITION, BlockInfo, describe_block, root_blocks

_MOST_CHEAP_READERS = 3
"""Readers that may each repeat a stage of plain arithmetic."""

_CHEAP_CALLS = {CONDITION, "tirx.isnan"}


def inline_elementwise(sch: Schedule, keep: Collection[str] = ()) -> None:
    """Inlines every stage for which that saves more than it repeats, but those whose names are in ``keep``."""
    for info in root_blocks(sch):
        if info.name not in keep and not info.is_opaque and not info.is_reduction and _pays(sch, info):
            try:
                sch.compute_inline(info.block)
            except ScheduleError:
                # An output of the function, or a stage that writes through an index map: it stays a stage of its own.
                continue


def _pays(sch: Schedule, info: BlockInfo) -> bool:
    consumers = [describe_block(sch, block) for block in sch.get_consumers(info.block)]
    if not consumers:
        return False
    node = sch.get(info.block)
    if any(consumer.is_reduction or consumer.is_opaque for consumer in consumers):
        # A reduction reads some elements many times (a pool its border), and conditions in it would not vectorise.
        return len(consumers) == 1 and not _has_condition(node) and not _repeats(sch, info, consumers[0])
    return len(consumers) == 1 or (len(consumers) <= _MOST_CHEAP_READERS and not _has_call(node))


def _repeats(sch: Schedule, info: BlockInfo, consumer: BlockInfo) -> bool:
    """Whether the consumer iterates more often than the stage has elements."""
    if consumer.is_opaque:
        return True
    produced, consumed = 1, 1
    for axis in info.axes:
        produced *= axis.extent or 1
    for axis in consumer.axes:
        consumed *= axis.extent or 1
    symbolic = [sum(axis.extent is None for axis in block.axes) for block in (info, consumer)]
    return consumed > produced or symbolic[0] != symbolic[1]


def _has_condition(node: SBlock) -> bool:
    found: list[Call] = []
    structural_walk(node.body, (Call, lambda call: found.append(call) if _is_condition(call) else None))
    return bool(found)


def _is_condition(call: Call) -> bool:
    return call.op.name == CONDITION


def _has_call(node: SBlock) -> bool:
    """Whether the stage computes a function (exp, tanh, ...) that is too dear to repeat."""
    found: list[Call] = []
    structural_walk(node.body, (Call, lambda call: found.append(call) if call.op.name not in _CHEAP_CALLS else None))
    return bool(found)
