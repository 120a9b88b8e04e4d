"""Random convolutions, products, pools and small graphs through the whole compiler, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import pytest
from batch_check import check_batch
from case_graph import OperatorCase
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_convolutions import convolutions
from random_graphs import graphs
from random_pools import pools
from random_products import products

from lepton_compiler.targets.registry import TARGETS, native_target, runs_here

FAMILIES: dict[str, st.SearchStrategy[OperatorCase]] = {
    "convolution": convolutions(),
    "product": products(),
    "pool": pools(),
    "graph": graphs(),
}

LEVELS = list(dict.fromkeys([name for name in TARGETS if name.startswith("x86-64-v")] + [native_target().name]))
RUNNABLE = [name for name in LEVELS if runs_here(TARGETS[name])]

BATCH = 25
"""Operators of one model: compiling them together takes a tenth of the time."""

CASES = 500


def check_random(family: str, target: str, count: int, folder: Path, *, derandomize: bool) -> int:
    """Checks at least ``count`` different cases, batch by batch, and returns how many; the first failure ends it."""
    seen: set[str] = set()

    # A batch can't be shrunk in reasonable time. What fails is found in it by ``check_batch``.
    @settings(
        max_examples=4 * -(-count // BATCH),
        phases=[Phase.generate],
        database=None,
        deadline=None,
        derandomize=derandomize,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(FAMILIES[family], min_size=BATCH, max_size=BATCH, unique_by=repr), st.booleans())
    def check(cases: list[OperatorCase], winograd: bool) -> None:
        fresh = [case for case in cases if repr(case) not in seen]
        if fresh and len(seen) < count:
            check_batch(fresh, target, winograd, folder)
            seen.update(map(repr, fresh))

    check()
    return len(seen)


@pytest.mark.parametrize("family", FAMILIES)
def test_some_cases(family: str, tmp_path: Path) -> None:
    assert check_random(family, "native", BATCH, tmp_path, derandomize=True) >= BATCH


@pytest.mark.properties
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("target", RUNNABLE)
@pytest.mark.parametrize("family", FAMILIES)
def test_many_cases(family: str, target: str, tmp_path: Path) -> None:
    assert check_random(family, target, CASES, tmp_path, derandomize=False) >= CASES
