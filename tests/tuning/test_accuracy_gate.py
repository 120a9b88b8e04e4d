"""Choices that go because a model is not exact enough: which, how many, and what becomes of the logs."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from lepton_compiler.tuning.accuracy_gate import Choice, GateReport, OutputError, hold_to_error
from lepton_compiler.tuning.algorithm_layers import Alternative


class Model:
    """Each choice adds its error; what takes its place may have one as well."""

    def __init__(self, errors: dict[str, float], instead: dict[str, str] | None = None, rest: float = 0.0) -> None:
        self.errors, self.instead, self.rest = errors, instead or {}, rest
        self.measured = 0

    def choices(self, refused: object) -> list[Choice]:
        gone = [choice.workload for choice in cast(list[Choice], refused)]
        first = [name for name in self.errors if name not in self.instead.values()]
        taken = [self.instead.get(name, "") if name in gone else name for name in first]
        taken = [name for name in taken if name and name not in gone]
        return [choice(name) for name in sorted(taken, key=lambda name: -self.errors[name])]

    def error(self, refused: object) -> OutputError:
        self.measured += 1
        return OutputError("y", self.rest + sum(self.errors[made.workload] for made in self.choices(refused)))


def choice(name: str) -> Choice:
    return Choice(Alternative("F(4x4, 3x3)", name, cast("object", None)), (name,))  # pyright: ignore[reportArgumentType]


def hold(model: Model, max_error: float) -> GateReport:
    return hold_to_error(max_error, model.error, model.choices)


def names(choices: tuple[Choice, ...]) -> list[str]:
    return [made.workload for made in choices]


def test_what_is_exact_enough_costs_one_measurement() -> None:
    model = Model({"a": 1.0, "b": 2.0})
    report = hold(model, 3.0)
    assert (report.holds, report.refused, model.measured) == (True, (), 1)
    assert names(report.kept) == ["b", "a"]


@pytest.mark.parametrize(("max_error", "refused"), [(9.0, ["d"]), (5.9, ["d", "c"]), (1.0, ["d", "c", "b"])])
def test_the_worst_go_and_no_more_than_needed(max_error: float, refused: list[str]) -> None:
    report = hold(Model({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}), max_error)
    assert report.holds
    assert names(report.refused) == refused
    assert (report.before.share, report.max_error) == (10.0, max_error)
    assert report.after.share <= max_error


def test_many_are_found_by_halves() -> None:
    model = Model({f"k{number}": 1.0 for number in range(64)})
    report = hold(model, 20.0)
    assert len(report.refused) == 44
    assert model.measured <= 8


def test_what_takes_the_place_of_a_choice_is_checked_as_well() -> None:
    model = Model({"a4": 4.0, "b4": 3.0, "a2": 2.0, "b2": 1.0}, {"a4": "a2", "b4": "b2"})
    report = hold(model, 0.5)
    assert report.holds
    assert sorted(names(report.refused)) == ["a2", "a4", "b2", "b4"]
    assert report.kept == ()
    assert names(hold(model, 5.0).refused) == ["a4"]


def test_an_error_that_no_choice_causes_is_said() -> None:
    report = hold(Model({"a": 1.0}, rest=2.0), 1.5)
    assert not report.holds
    assert names(report.refused) == ["a"]
    assert report.after.share == 2.0


def test_nothing_is_refused_twice() -> None:
    stubborn = choice("a")
    report = hold_to_error(1.0, lambda refused: OutputError("y", 2.0), lambda refused: [stubborn])
    assert report.refused == (stubborn,)


def test_an_output_that_is_no_number_is_not_exact(tmp_path: Path) -> None:
    import numpy as np

    from lepton_compiler.evaluation.accuracy_check import worst_output

    right = {"a": np.array([0.0, 2.0], np.float32), "b": np.array([1, 2, 3, 4])}
    assert worst_output(right, right).share == 0
    assert worst_output({**right, "a": np.array([0.0, 1.0], np.float32)}, right) == OutputError("a", 0.5)
    assert worst_output({**right, "b": np.array([1, 2, 3, 5])}, right) == OutputError("b", 0.25)
    assert worst_output({**right, "a": np.array([0.0, np.nan], np.float32)}, right) == OutputError("a", float("inf"))
