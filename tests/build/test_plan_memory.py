import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import tirx

from lepton_compiler.build.dim_expressions import evaluate
from lepton_compiler.build.execution_plan import Allocation
from lepton_compiler.build.plan_memory import (
    SlotLayout,
    StaticLayout,
    align,
    lower_bound_bytes,
    plan_memory,
)
from lepton_compiler.core.abi import ALIGNMENT

N = tirx.Var("n", "int64")
M = tirx.Var("m", "int64")

WORST_RATIO_TO_OPTIMUM = 1.5
"""Placing greedily is no exact algorithm; with up to five allocations it stays within this of the best layout."""


@st.composite
def lifetimes(draw: st.DrawFn) -> tuple[int, int]:
    first = draw(st.integers(0, 12))
    return first, first + draw(st.integers(0, 6))


@st.composite
def static_allocations(draw: st.DrawFn, sizes: st.SearchStrategy[int]) -> Allocation:
    return Allocation(draw(sizes), *draw(lifetimes()))


@st.composite
def symbolic_allocations(draw: st.DrawFn) -> Allocation:
    factor = draw(st.integers(1, 8))
    return Allocation(
        draw(st.sampled_from([4096, N * factor, M * factor, N * M * factor, N + factor])), *draw(lifetimes())
    )


def alive_together(a: Allocation, b: Allocation) -> bool:
    return any(a.first <= call <= a.last and b.first <= call <= b.last for call in range(20))


def planned(allocations: list[Allocation]) -> StaticLayout:
    layout = plan_memory(allocations, ())
    assert isinstance(layout, StaticLayout)
    return layout


@given(st.lists(static_allocations(st.integers(0, 5000)), max_size=25))
@settings(max_examples=200)
def test_offsets_keep_what_is_alive_apart(allocations: list[Allocation]) -> None:
    layout = planned(allocations)
    places = list(zip(allocations, layout.offsets, strict=True))
    for allocation, offset in places:
        assert offset % ALIGNMENT == 0
        assert 0 <= offset <= offset + allocation.size_bytes <= layout.arena_bytes
    for (a, start), (b, other) in itertools.combinations(places, 2):
        if alive_together(a, b):
            assert start + a.size_bytes <= other or other + b.size_bytes <= start
    assert layout.arena_bytes >= layout.lower_bound_bytes
    assert layout.lower_bound_bytes == lower_bound_bytes(allocations, [align(a.size_bytes) for a in allocations])


def best_arena(allocations: list[Allocation]) -> int:
    """The least that any layout needs: some order of placing each at the lowest gap reaches it."""
    best = None
    for order in itertools.permutations(allocations):
        placed: list[tuple[Allocation, int]] = []
        for allocation in order:
            size = align(allocation.size_bytes)
            taken = sorted((o, o + align(p.size_bytes)) for p, o in placed if alive_together(p, allocation))
            offset = 0
            for start, end in taken:
                if start - offset >= size:
                    break
                offset = max(offset, end)
            placed.append((allocation, offset))
        arena = max(offset + align(allocation.size_bytes) for allocation, offset in placed)
        best = arena if best is None else min(best, arena)
    return best or 0


@given(st.lists(static_allocations(st.integers(1, 16).map(lambda units: units * ALIGNMENT)), min_size=1, max_size=5))
@settings(max_examples=150, deadline=None)
def test_arena_is_close_to_the_optimum(allocations: list[Allocation]) -> None:
    best = best_arena(allocations)
    assert planned(allocations).lower_bound_bytes <= best <= planned(allocations).arena_bytes
    assert planned(allocations).arena_bytes <= WORST_RATIO_TO_OPTIMUM * best


def test_a_chain_needs_two_places_and_reaches_the_lower_bound() -> None:
    layout = planned([Allocation(1000, call, call + 1) for call in range(10)])
    assert layout.arena_bytes == layout.lower_bound_bytes == 2 * align(1000)


def test_workspace_takes_the_place_of_what_is_dead() -> None:
    layout = planned([Allocation(4096, 0, 1), Allocation(4096, 1, 2), Allocation(4096, 2, 2)])
    assert layout.arena_bytes == 2 * 4096


@pytest.mark.parametrize("sizes", [[], [0], [0, 0, 64]])
def test_nothing_needs_nothing(sizes: list[int]) -> None:
    layout = planned([Allocation(size, 0, 3) for size in sizes])
    assert layout.arena_bytes == layout.lower_bound_bytes == sum(sizes)


def test_lower_bound_is_the_fullest_moment() -> None:
    allocations = [Allocation(10, 0, 2), Allocation(20, 2, 3), Allocation(5, 3, 3), Allocation(7, 5, 5)]
    assert lower_bound_bytes(allocations, [a.size_bytes for a in allocations]) == 30


@given(st.lists(symbolic_allocations(), min_size=1, max_size=15), st.integers(1, 300), st.integers(1, 300))
def test_slots_are_never_shared_by_what_is_alive(allocations: list[Allocation], n: int, m: int) -> None:
    # At least one symbolic size, or offsets would be planned.
    allocations = [*allocations, Allocation(N * 4, 0, 0)]
    layout = plan_memory(allocations, (N, M))
    assert isinstance(layout, SlotLayout)
    for (i, a), (j, b) in itertools.combinations(enumerate(allocations), 2):
        if alive_together(a, b):
            assert layout.slot_of[i] != layout.slot_of[j]
    for index, allocation in enumerate(allocations):
        slot = layout.slots[layout.slot_of[index]]
        assert max(evaluate(size, {N: n, M: m}) for size in slot) >= evaluate(allocation.size_bytes, {N: n, M: m})
    assert all(layout.slots)


def test_a_symbolic_chain_needs_two_slots() -> None:
    layout = plan_memory([Allocation(N * 8, call, call + 1) for call in range(10)], (N,))
    assert isinstance(layout, SlotLayout)
    assert len(layout.slots) == 2


def test_a_symbolic_arena_is_measured_at_a_typical_value() -> None:
    typical = N * 4, M * 8, N * M - 10_000
    layout = plan_memory([Allocation(size, 0, 0) for size in typical], (N, M))
    assert isinstance(layout, SlotLayout)
    # 64 * 4 and 64 * 8; the third is negative there, and no bytes at all.
    assert layout.arena_bytes == layout.lower_bound_bytes == 256 + 512


def test_a_slot_may_cost_more_than_the_lower_bound() -> None:
    layout = plan_memory([Allocation(N * 8, 0, 0), Allocation(N * 4, 1, 1), Allocation(N * 4, 1, 1)], (N,))
    assert isinstance(layout, SlotLayout)
    assert (layout.arena_bytes, layout.lower_bound_bytes) == (512 + 256, 512)


def test_a_size_that_divides_by_a_typical_value_has_a_slot() -> None:
    """Slots are chosen for symbols of 64; an expression that divides by ``64 - n`` must not stop that."""
    layout = plan_memory([Allocation(tirx.floordiv(N, 64 - N) * 4, 0, 0)], (N,))
    assert isinstance(layout, SlotLayout)
    assert len(layout.slots) == 1
