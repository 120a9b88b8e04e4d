"""A choice by measured times: which counts, which does not, and what is said."""

from __future__ import annotations

import pytest

from lepton_compiler.passes.winograd.choose_algorithm import DIRECT, WinogradPolicy, expected_error
from lepton_compiler.passes.winograd.measured_algorithms import LayerTimes, MeasuredTime, fastest
from lepton_compiler.passes.winograd.transforms import F2, F4
from lepton_compiler.targets.registry import get_target

ZEN5 = get_target("amd-zen5")
F2_NAME, F4_NAME = "F(2x2, 3x3)", "F(4x4, 3x3)"


def group(**microseconds: float) -> dict[str, MeasuredTime]:
    names = {"direct": DIRECT, "f2": F2_NAME, "f4": F4_NAME}
    return {names[key]: MeasuredTime(time * 1e-6, f"log:{key}") for key, time in microseconds.items()}


def choose(*groups: dict[str, MeasuredTime], policy: WinogradPolicy | None = None, **refused: str):
    """The choice for a layer of which the cost model takes F(4x4, 3x3)."""
    times = LayerTimes(groups, {{"f2": F2_NAME, "f4": F4_NAME}[key]: why for key, why in refused.items()})
    return (policy or WinogradPolicy()).choose(ZEN5, (64, 64, 3, 3), (1, 56, 56), times=times)


@pytest.mark.parametrize(
    ("times", "transform"),
    [
        ({"direct": 50, "f2": 60, "f4": 70}, None),
        ({"direct": 90, "f2": 60, "f4": 70}, F2),
        ({"direct": 90, "f2": 80, "f4": 70}, F4),
        ({"direct": 90, "f4": 100}, None),
    ],
)
def test_the_fastest_is_taken(times, transform):
    assert choose(group(**times)).transform is transform


def test_times_and_records_are_said():
    assert choose(group(direct=90, f2=60, f4=70.04)).reason == (
        "Winograd F(2x2, 3x3): measured 60.0 us (log:f2), direct 90.0 us (log:direct), F(4x4, 3x3) 70.0 us (log:f4)"
    )
    assert choose(group(direct=50, f4=70)).reason == (
        "direct: measured 50.0 us (log:direct), F(4x4, 3x3) 70.0 us (log:f4)"
    )


def test_numbers_change_for_more_than_noise():
    assert fastest({DIRECT: 1.0, F2_NAME: 0.98}) == DIRECT
    assert fastest({DIRECT: 1.0, F2_NAME: 0.96}) == F2_NAME
    assert fastest({DIRECT: 1.0, F2_NAME: 0.96, F4_NAME: 0.95}) == F2_NAME
    assert fastest({F4_NAME: 1.0}) == F4_NAME


@pytest.mark.parametrize("groups", [(), (group(direct=1),), (group(f4=70),), (group(direct=1, f2=2),)])
def test_where_the_cost_models_choice_was_not_measured_beside_another_it_stays(groups):
    choice = choose(*groups)
    assert choice.transform is F4
    assert choice.reason == WinogradPolicy().choose(ZEN5, (64, 64, 3, 3), (1, 56, 56)).reason


def test_times_of_two_groups_are_not_compared():
    assert choose(group(direct=1), group(f4=70)).transform is F4
    assert choose(group(direct=60, f4=70), group(f2=10, f4=70)).transform is F2


def test_a_refused_algorithm_is_not_taken_and_the_reason_is_said():
    choice = choose(group(direct=90, f2=60, f4=30), f4="too inexact (log:9)")
    assert choice.transform is F2
    assert choice.reason.endswith("; not F(4x4, 3x3): too inexact (log:9)")
    without_times = choose(f4="too inexact (log:9)")
    assert without_times.transform is F2
    assert without_times.reason.startswith("Winograd F(2x2, 3x3): estimated ")
    nothing_left = choose(f2="too inexact (log:8)", f4="too inexact (log:9)")
    assert nothing_left.transform is None
    assert nothing_left.reason.startswith("direct: no Winograd algorithm may be taken; cycles of a core: ")


def test_what_the_policy_does_not_allow_is_not_measured_into_a_model():
    tight = WinogradPolicy(max_error=1e-6)
    assert tight.algorithms() == (DIRECT, F2_NAME)
    assert choose(group(direct=90, f2=60, f4=30), policy=tight).transform is F2
    assert WinogradPolicy(enabled=False).algorithms() == (DIRECT,)


@pytest.mark.parametrize(("only", "transform"), [(DIRECT, None), (F2_NAME, F2), (F4_NAME, F4)])
def test_one_algorithm_wherever_it_is_possible(only, transform):
    policy = WinogradPolicy(only=only)
    # The cost model takes the direct one here.
    assert WinogradPolicy().choose(ZEN5, (8, 512, 3, 3), (1, 1, 1)).transform is None
    assert policy.choose(ZEN5, (8, 512, 3, 3), (1, 1, 1)).transform is transform
    assert policy.choose(ZEN5, (16, 3, 3, 3), (1, 56, 56)).transform is None


def test_the_order_is_that_of_accuracy():
    errors = [expected_error(name) for name in WinogradPolicy().algorithms()]
    assert errors == sorted(errors)
    assert errors[0] == 0
