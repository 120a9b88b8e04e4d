"""What a search may choose: every candidate schedules, and is right against the generic schedule on a device."""

from __future__ import annotations

import random as chance
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from kernel_checks import lower, operator_module, random
from tvm import relax, tirx

from lepton_compiler.core.pass_base import Pass
from lepton_compiler.devices.kernel_library import build_kernel_library
from lepton_compiler.devices.local_device import LocalDevice
from lepton_compiler.passes.fusion.fuse_operators import FuseOperators
from lepton_compiler.passes.layout.pack_activations import PackActivations
from lepton_compiler.passes.lowering.legalize_operators import LegalizeOperators
from lepton_compiler.passes.winograd.choose_algorithm import WinogradPolicy
from lepton_compiler.targets.cpu.knobs import CandidateCollector
from lepton_compiler.targets.cpu.schedule import knob_types, schedule_function, schedule_reference
from lepton_compiler.targets.registry import TARGETS, get_target, runs_here
from lepton_compiler.tuning.measurement import Measurer, TimingPlan
from lepton_compiler.tuning.record import Status
from lepton_compiler.tuning.tasks import TuningTask

SAMPLED = 2
"""Candidates of a kernel that run in an ordinary run of the tests."""
SCHEDULED = 16
"""Candidates that are scheduled then."""
ALL = 10_000

LEVELS = [name for name in ("x86-64-v3", "x86-64-v4") if runs_here(TARGETS[name])]
at_both_levels = pytest.mark.parametrize("target", LEVELS)

WINOGRAD = PackActivations(WinogradPolicy(enabled=True, max_error=1.0))
DIRECT = PackActivations(WinogradPolicy(enabled=False))


@dataclass(frozen=True)
class Case:
    """An operator whose kernel has knobs: its anchor, its inputs, and what computes it."""

    name: str
    anchor: str
    build: Callable[..., relax.Expr]
    shapes: tuple[tuple[int, ...], ...]
    arrange: Pass | None = None


def _convolution(*weight: int, **attributes: Any) -> Callable[..., relax.Expr]:
    def build(emit, data):
        result = emit(relax.op.nn.conv2d(data, relax.const(random(*weight, seed=1)), **attributes))
        bias = relax.const(random(1, weight[0], 1, 1, seed=2))
        return relax.op.nn.relu(emit(relax.op.add(result, bias)))

    return build


def _dense(inner: int, columns: int) -> Callable[..., relax.Expr]:
    return lambda emit, data: relax.op.matmul(data, relax.const(random(inner, columns, seed=1)))


def _softmax(emit, data):
    return relax.op.nn.softmax(data)


# Sizes that no tile divides, and dimensions of one.
CASES = [
    Case("plain", "convolution", _convolution(32, 5, 3, 3, padding=[1] * 4), ((1, 5, 7, 9),)),
    Case("plain-row", "convolution", _convolution(16, 3, 1, 1), ((2, 3, 1, 13),)),
    Case("depthwise", "depthwise_convolution", _convolution(6, 1, 3, 3, padding=[1] * 4, groups=6), ((1, 6, 9, 19),)),
    Case("packed", "packed_convolution", _convolution(32, 16, 3, 3, padding=[1] * 4), ((1, 16, 7, 9),), DIRECT),
    Case("packed-point", "packed_convolution", _convolution(48, 24, 1, 1), ((1, 24, 1, 5),), DIRECT),
    Case("packed-stride", "packed_convolution", _convolution(20, 10, 3, 3, strides=[2, 2]), ((2, 10, 11, 8),), DIRECT),
    Case(
        "packed-depthwise",
        "packed_depthwise",
        _convolution(32, 1, 3, 3, padding=[1] * 4, groups=32),
        ((1, 32, 5, 9),),
        DIRECT,
    ),
    Case("winograd", "winograd", _convolution(64, 64, 3, 3, padding=[1] * 4), ((1, 64, 13, 18),), WINOGRAD),
    Case("dense", "dense", _dense(33, 80), ((13, 33),)),
    Case("dense-row", "dense", _dense(64, 40), ((1, 64),)),
    Case("matmul", "matmul", lambda emit, a, b: relax.op.matmul(a, b), ((2, 11, 17), (2, 17, 40))),
    Case("softmax", "row_reduction", _softmax, ((5, 131),)),
]
in_every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@cache
def kernel_of(case: Case, target: str) -> tirx.PrimFunc:
    """The one kernel of a case that has its anchor, unscheduled."""
    spec = get_target(target)
    module = operator_module(case.build, case.shapes)
    if case.arrange is None:
        module = lower(module, spec)
    else:
        module = case.arrange.run(module, spec).module
        module = FuseOperators().run(LegalizeOperators().run(module, spec).module, spec).module
    kernels = [function for function in module.functions.values() if isinstance(function, tirx.PrimFunc)]
    (kernel,) = [kernel for kernel in kernels if schedule_function(kernel, spec).anchor == case.anchor]
    return kernel


@cache
def choices(case: Case, target: str) -> CandidateCollector[Any]:
    collector = CandidateCollector[Any]()
    schedule_function(kernel_of(case, target), get_target(target), collector)
    return collector


def drawn(case: Case, target: str, count: int) -> list[Any]:
    """So many candidates, always the same ones, the first and the last among them."""
    default, *others = choices(case, target).candidates
    return [default, *chance.Random(f"{case.name} {target}").sample(others, min(len(others), count - 1))]


@pytest.fixture(scope="module")
def device() -> Iterator[LocalDevice]:
    with LocalDevice() as local:
        yield local


def test_every_schedule_with_knobs_has_a_case() -> None:
    assert {case.anchor for case in CASES} == set(knob_types())


@at_both_levels
@in_every_case
def test_the_default_is_the_first_of_several_candidates(case: Case, target: str) -> None:
    collector = choices(case, target)
    assert len(collector.candidates) > 1
    assert len(set(collector.candidates)) == len(collector.candidates)
    assert collector.candidates[0] == collector.default
    assert {type(knobs) for knobs in collector.candidates} == {knob_types()[case.anchor]}
    assert schedule_function(kernel_of(case, target), get_target(target)).schedule == (
        schedule_function(kernel_of(case, target), get_target(target), collector.default).schedule
    )


@at_both_levels
@in_every_case
@pytest.mark.parametrize("count", [SCHEDULED, pytest.param(ALL, marks=pytest.mark.slow)])
def test_candidates_schedule(case: Case, target: str, count: int) -> None:
    spec = get_target(target)
    for knobs in drawn(case, target, count):
        scheduled = schedule_function(kernel_of(case, target), spec, knobs)
        assert scheduled.refused is None, knobs
        assert scheduled.anchor == case.anchor
        assert f": {knobs}" in scheduled.schedule


@at_both_levels
@in_every_case
@pytest.mark.parametrize("count", [SAMPLED, pytest.param(12, marks=pytest.mark.slow)])
def test_candidates_are_right(case: Case, target: str, count: int, device: LocalDevice) -> None:
    spec = get_target(target)
    kernel = kernel_of(case, target)
    candidates = choices(case, target).candidates
    task = TuningTask(f"{case.name} {target}", (case.name,), 1, kernel, case.anchor, candidates[0], candidates, None)
    measurer = Measurer(device, TimingPlan(samples=1, budget_ms=1.0), seed=3)
    measurer.add_reference(task, build_kernel_library(schedule_reference(kernel, spec).func, spec))
    for knobs in drawn(case, target, count):
        library = build_kernel_library(schedule_function(kernel, spec, knobs).func, spec)
        outcome = measurer.measure(task, library)
        assert outcome.status is Status.OK, (knobs, outcome.reason)
