"""Static memory planner: a place in one arena for every allocation, by lifetime.

Allocations that are alive at the same call never overlap. Where all sizes are numbers, each gets an offset: largest
first, at the lowest gap that fits between those already placed whose lifetimes overlap (greedy by size, as in Pisarchyk
and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020); where that misses the lower bound, other
orders are tried too and the smallest arena is kept. Where sizes depend on symbols, allocations share slots instead: a
slot is as large as its largest tenant turns out to be, and slots lie one after the other.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx

from lepton_compiler.build.dim_expressions import Size, evaluate
from lepton_compiler.build.execution_plan import Allocation
from lepton_compiler.core.abi import ALIGNMENT

TYPICAL_SYMBOL_VALUE = 64
"""What a symbol is taken for when slots are chosen; any value is correct, a typical one packs well."""

_ORDERS: tuple[Callable[[Allocation], tuple], ...] = (
    lambda allocation: (-allocation.size_bytes, allocation.first),
    lambda allocation: (allocation.first - allocation.last, -allocation.size_bytes),
    lambda allocation: (allocation.first, -allocation.size_bytes),
    lambda allocation: (-allocation.last, -allocation.size_bytes),
)
"""What offsets are given by: size, length of life, start, end."""


@dataclass(frozen=True)
class StaticLayout:
    """Offsets in bytes, one an allocation; the arena's size; and the least that any layout could need."""

    offsets: tuple[int, ...]
    arena_bytes: int
    lower_bound_bytes: int


@dataclass(frozen=True)
class SlotLayout:
    """For each allocation the slot that it lies in, and for each slot the sizes of its tenants.

    Attributes:
        slot_of: Slots by allocation.
        slots: Sizes of the tenants in bytes.
        arena_bytes: Size of the arena where every symbol is ``TYPICAL_SYMBOL_VALUE``.
        lower_bound_bytes: The least that any layout could need there.
    """

    slot_of: tuple[int, ...]
    slots: tuple[tuple[Size, ...], ...]
    arena_bytes: int
    lower_bound_bytes: int


def align(size: int) -> int:
    """The next multiple of ``ALIGNMENT``."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def plan_memory(allocations: Sequence[Allocation], symbols: Sequence[tirx.Var]) -> StaticLayout | SlotLayout:
    """Lays out allocations: offsets where every size is a number, slots where one is not."""
    if all(isinstance(allocation.size_bytes, int) for allocation in allocations):
        return _plan_offsets(allocations)
    return _plan_slots(allocations, symbols)


def lower_bound_bytes(allocations: Sequence[Allocation], sizes: Sequence[int]) -> int:
    """Most bytes alive at one call: no layout needs less."""
    alive: dict[int, int] = {}
    for allocation, size in zip(allocations, sizes, strict=True):
        for call in range(allocation.first, allocation.last + 1):
            alive[call] = alive.get(call, 0) + size
    return max(alive.values(), default=0)


def _overlap(a: Allocation, b: Allocation) -> bool:
    return a.first <= b.last and b.first <= a.last


def _plan_offsets(allocations: Sequence[Allocation]) -> StaticLayout:
    sizes = [align(int(allocation.size_bytes)) for allocation in allocations]
    least = lower_bound_bytes(allocations, sizes)
    best: StaticLayout | None = None
    for order in _ORDERS:
        ranks = [(order(allocation), index) for index, allocation in enumerate(allocations)]
        offsets = _place([index for _, index in sorted(ranks)], allocations, sizes)
        arena_bytes = max((offset + size for offset, size in zip(offsets, sizes, strict=True)), default=0)
        if best is None or arena_bytes < best.arena_bytes:
            best = StaticLayout(tuple(offsets), arena_bytes, least)
        if arena_bytes == least:
            break
    assert best is not None
    return best


def _place(order: Sequence[int], allocations: Sequence[Allocation], sizes: Sequence[int]) -> list[int]:
    """Offsets when allocations are placed in ``order``, each in the lowest gap."""
    offsets = [0] * len(sizes)
    placed: list[int] = []  # by offset
    for index in order:
        offsets[index] = _lowest_gap(
            sizes[index],
            [(offsets[other], sizes[other]) for other in placed if _overlap(allocations[index], allocations[other])],
        )
        bisect.insort(placed, index, key=offsets.__getitem__)
    return offsets


def _lowest_gap(size: int, taken: Sequence[tuple[int, int]]) -> int:
    """Lowest offset with ``size`` free bytes between the ``(offset, size)`` pairs, which are in order of offset."""
    end = 0
    for offset, length in taken:
        if offset - end >= size:
            break
        end = max(end, offset + length)
    return end


def _plan_slots(allocations: Sequence[Allocation], symbols: Sequence[tirx.Var]) -> SlotLayout:
    typical = dict.fromkeys(symbols, TYPICAL_SYMBOL_VALUE)
    # A size that is negative there belongs to inputs that are too small; the run refuses them.
    sizes = [align(max(0, evaluate(allocation.size_bytes, typical))) for allocation in allocations]
    order = sorted(range(len(sizes)), key=lambda index: (-sizes[index], allocations[index].first, index))
    tenants: list[list[int]] = []
    slot_of = [0] * len(sizes)
    for index in order:
        free = (
            number
            for number, slot in enumerate(tenants)
            if not any(_overlap(allocations[index], allocations[other]) for other in slot)
        )
        number = next(free, len(tenants))
        if number == len(tenants):
            tenants.append([])
        tenants[number].append(index)
        slot_of[index] = number
    return SlotLayout(
        tuple(slot_of),
        tuple(tuple(allocations[i].size_bytes for i in slot) for slot in tenants),
        arena_bytes=sum(max(sizes[i] for i in slot) for slot in tenants),
        lower_bound_bytes=lower_bound_bytes(allocations, sizes),
    )
