"""A search from its first trial to its report, with builders and a device that do what a test says."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import pytest
from landscape import ANCHOR, BEST, CANDIDATES, DEFAULT, outcome, task

from lepton_compiler.core.errors import DeviceError, TuningLogError
from lepton_compiler.devices.trial import KernelLibrary
from lepton_compiler.targets.registry import get_target
from lepton_compiler.tuning.build_pool import BuildFailure, BuildPool
from lepton_compiler.tuning.cost_model import CostModel
from lepton_compiler.tuning.database import Database
from lepton_compiler.tuning.log_writer import LogWriter
from lepton_compiler.tuning.measurement import Measurer, ReferenceFailure
from lepton_compiler.tuning.record import Device, Outcome, Status, TunedTarget, Versions
from lepton_compiler.tuning.task_search import TaskSearch
from lepton_compiler.tuning.tasks import TuningTask
from lepton_compiler.tuning.tuner import Bench, Budget, TrialEvent, Tuner, TuningResult

TARGET = get_target("x86-64-v3")
BENCH = Bench(Device("lab", "a processor", 1), TARGET, Versions("0.1.0", "0.27.0", "22"), 0, {"threads": 1})
FEW = tuple(dict.fromkeys([DEFAULT, *CANDIDATES[::20], BEST]))
WRONG = Outcome.failed(Status.WRONG_RESULT, "12 of 64 elements differ")


class FakePool:
    """Builds at once: a library's code is the number of its knobs."""

    def __init__(self) -> None:
        self.built: list[tuple[str, Any]] = []
        self.fault: Callable[[str, Any], None] = lambda workload, knobs: None

    def submit(self, workload: str, function: Any, knobs: Any) -> Future[KernelLibrary]:
        self.built.append((workload, knobs))
        future: Future[KernelLibrary] = Future()
        try:
            self.fault(workload, knobs)
        except BuildFailure as error:
            future.set_exception(error)
        else:
            number = -1 if knobs is None else CANDIDATES.index(knobs)
            future.set_result(KernelLibrary(str(number).encode(), (), (), 0))
        return future


class FakeMeasurer:
    """Has the landscape's times."""

    def __init__(self) -> None:
        self.measured: list[tuple[str, Any]] = []
        self.references: list[str] = []
        self.answer: Callable[[Any], Outcome] = outcome

    def add_reference(self, tuned: TuningTask, library: KernelLibrary) -> None:
        assert library.code == b"-1"
        self.references.append(tuned.workload)

    def measure(self, tuned: TuningTask, library: KernelLibrary) -> Outcome:
        assert tuned.workload in self.references, "nothing is measured before its reference"
        knobs = CANDIDATES[int(library.code)]
        self.measured.append((tuned.workload, knobs))
        return self.answer(knobs)


class Bed:
    """A tuner with its surroundings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pool, self.measurer = FakePool(), FakeMeasurer()
        self.events: list[TrialEvent] = []
        self.on_trial: Callable[[TrialEvent], None] = self.events.append

    def run(
        self, tasks: list[TuningTask], budget: Budget, *, overlap: bool = True, resume: bool = False
    ) -> TuningResult:
        with LogWriter(self.folder) as writer:
            tuner = Tuner(
                tasks,
                BENCH,
                cast(BuildPool, self.pool),
                cast(Measurer, self.measurer),
                writer,
                in_flight=3,
                overlap=overlap,
                on_trial=self.on_trial,
            )
            if resume:
                tuner.learn(Database.load([self.folder]))
            return tuner.run(budget)

    def records(self) -> list[tuple[str, dict[str, Any], Status]]:
        database = Database.load([self.folder])
        assert not database.problems
        return [(r.workload, dict(r.knobs), r.outcome.status) for r in database.records()]


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path / "logs")


def distinct(bed: Bed) -> list[Any]:
    return list(dict.fromkeys(bed.measurer.measured))


@pytest.mark.parametrize("overlap", [True, False])
def test_a_search_finds_the_best_confirms_it_and_writes_everything_down(bed: Bed, overlap: bool) -> None:
    result = bed.run([task(candidates=FEW)], Budget(), overlap=overlap)
    (search,) = result.searches
    assert search.best == BEST
    assert bed.measurer.measured[0][1] == DEFAULT
    assert {knobs for _, knobs in bed.measurer.measured} == set(FEW)
    assert bed.measurer.measured.count(("w1-kernel", BEST)) == 4, "three times to confirm"
    assert [(w, k) for w, k, _ in bed.records()] == [(w, vars(k)) for w, k in bed.measurer.measured]
    assert len(bed.events) == result.trials == len(bed.measurer.measured)
    assert bed.pool.built[0] == ("w1-kernel", None)
    assert not result.interrupted


def test_the_number_of_candidates_is_kept(bed: Bed) -> None:
    bed.run([task("one"), task("other")], Budget(trials=10))
    assert len(distinct(bed)) == 10


def test_the_time_is_kept_with_its_confirmations(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CostModel, "predict", lambda *arguments: None)

    def slow(knobs: Any) -> Outcome:
        time.sleep(0.01)
        return outcome(knobs)

    bed.measurer.answer = slow
    started = time.monotonic()
    result = bed.run([task(str(number)) for number in range(5)], Budget(seconds=1.0))
    assert 0.9 <= time.monotonic() - started < 2.5
    measured = [workload for workload, _ in bed.measurer.measured]
    assert len(measured) > len(distinct(bed)), "some of the time is for confirmations"
    assert result.seconds == pytest.approx(time.monotonic() - started, abs=0.5)


def test_a_plateau_ends_a_kernel(bed: Bed) -> None:
    bed.measurer.answer = lambda knobs: Outcome.ok(1e-3, 0, 1)
    bed.run([task()], Budget(patience=10))
    assert 11 <= len(distinct(bed)) <= 11 + 3, "those in flight are finished"


def test_wrong_candidates_are_recorded_and_never_chosen(bed: Bed) -> None:
    bed.measurer.answer = lambda knobs: WRONG if knobs == BEST else outcome(knobs)
    (search,) = bed.run([task(candidates=FEW)], Budget()).searches
    assert search.best != BEST
    assert [(k, s) for _, k, s in bed.records() if s is not Status.OK] == [(vars(BEST), Status.WRONG_RESULT)]


def test_a_candidate_that_is_wrong_when_it_is_confirmed_is_not_chosen(bed: Bed) -> None:
    seen = itertools.count()
    bed.measurer.answer = lambda knobs: WRONG if knobs == BEST and next(seen) > 1 else outcome(knobs)
    (search,) = bed.run([task(candidates=FEW)], Budget()).searches
    assert search.best != BEST
    best = Database.load([bed.folder]).best("w1-kernel", TunedTarget.of(TARGET))
    assert best is not None
    assert dict(best.record.knobs) != vars(BEST)


@pytest.mark.parametrize(("refused", "status"), [(True, Status.REFUSED), (False, Status.BUILD_FAILURE)])
def test_candidates_that_can_not_be_built_are_recorded(bed: Bed, refused: bool, status: Status) -> None:
    def fault(workload: str, knobs: Any) -> None:
        if knobs == BEST:
            raise BuildFailure("not legal", refused=refused)

    bed.pool.fault = fault
    (search,) = bed.run([task(candidates=FEW)], Budget()).searches
    assert search.problem is None
    assert ("w1-kernel", vars(BEST), status) in bed.records()


def test_a_kernel_without_a_reference_is_a_problem_of_its_own(bed: Bed) -> None:
    def fault(workload: str, knobs: Any) -> None:
        if workload == "w1-broken" and knobs is None:
            raise BuildFailure("LLVM died")

    bed.pool.fault = fault
    broken, sound = bed.run([task("broken", 9), task("sound", candidates=FEW)], Budget()).searches
    assert broken.problem == "its reference can't be built: LLVM died"
    assert sound.best == BEST
    assert {workload for workload, _, _ in bed.records()} == {"w1-sound"}


@pytest.mark.parametrize("at_first", [True, False])
def test_a_reference_that_does_not_run_is_a_problem_of_its_own(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, at_first: bool
) -> None:
    name = "add_reference" if at_first else "measure"
    original = getattr(bed.measurer, name)

    def fail(tuned: TuningTask, library: KernelLibrary) -> Any:
        if tuned.workload == "w1-broken":
            raise ReferenceFailure("the reference of broken did not run: signal 11")
        return original(tuned, library)

    monkeypatch.setattr(bed.measurer, name, fail)
    broken, sound = bed.run([task("broken", 9), task("sound", candidates=FEW)], Budget()).searches
    assert broken.problem == "the reference of broken did not run: signal 11"
    assert sound.best == BEST


def test_a_device_that_is_gone_ends_the_search_and_keeps_the_records(bed: Bed) -> None:
    def answer(knobs: Any) -> Outcome:
        if len(bed.measurer.measured) > 5:
            raise DeviceError("the board is switched off")
        return outcome(knobs)

    bed.measurer.answer = answer
    with pytest.raises(DeviceError, match="switched off"):
        bed.run([task()], Budget())
    assert len(bed.records()) == 5


def test_a_log_that_can_not_be_written_ends_the_search(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    original = LogWriter.append

    def append(writer: LogWriter, record: Any) -> None:
        if len(bed.measurer.measured) > 5:
            raise TuningLogError("the disk is full")
        original(writer, record)

    monkeypatch.setattr(LogWriter, "append", append)
    with pytest.raises(TuningLogError, match="the disk is full"):
        bed.run([task()], Budget())
    assert len(bed.records()) == 5


@pytest.mark.parametrize("trials", [1, 4, 20])
def test_an_interrupt_keeps_everything(bed: Bed, trials: int) -> None:
    def interrupt(event: TrialEvent) -> None:
        if event.trials == trials:
            raise KeyboardInterrupt

    bed.on_trial = interrupt
    result = bed.run([task()], Budget())
    assert result.interrupted
    assert len(bed.records()) == trials
    (search,) = result.searches
    assert search.tried == trials
    assert search.best_seconds == min(outcome(knobs).times.median_s for _, knobs in bed.measurer.measured)  # type: ignore[union-attr]


def test_a_search_goes_on_where_it_was_interrupted(bed: Bed) -> None:
    bed.run([task(candidates=FEW)], Budget(trials=7))
    first = set(distinct(bed))
    bed.measurer.measured.clear()
    (search,) = bed.run([task(candidates=FEW)], Budget(), resume=True).searches
    again = [knobs for knobs in distinct(bed) if knobs in first]
    assert {knobs for _, knobs in again} <= {DEFAULT, *search.finalists(3)}, "only confirmations are measured again"
    assert first | set(distinct(bed)) == {("w1-kernel", knobs) for knobs in FEW}
    assert search.best == BEST
    assert search.tried == len(FEW)


def _other_bench() -> Iterator[Any]:
    yield pytest.param(Bench(Device("board", "a processor", 1), TARGET, BENCH.versions, 0, BENCH.timing), id="device")
    yield pytest.param(Bench(BENCH.device, TARGET, BENCH.versions, 0, {"threads": 2}), id="threads")


@pytest.mark.parametrize("bench", list(_other_bench()))
def test_times_that_can_not_be_compared_are_measured_again(
    bed: Bed, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other times are a hundredth of what is measured here: each would be the best for ever."""
    monkeypatch.setitem(globals(), "BENCH", bench)
    bed.measurer.answer = lambda knobs: Outcome.ok(outcome(knobs).times.median_s / 100, 0, 1)  # type: ignore[union-attr]
    bed.run([task(candidates=FEW)], Budget())
    monkeypatch.undo()
    bed.measurer.measured.clear()
    bed.measurer.answer = outcome
    (search,) = bed.run([task(candidates=FEW)], Budget(), resume=True).searches
    assert {knobs for _, knobs in distinct(bed)} == set(FEW)
    assert search.default_seconds == outcome(DEFAULT).times.median_s  # type: ignore[union-attr]


def test_other_kernels_teach(bed: Bed) -> None:
    bed.run([task("before")], Budget(trials=15))
    with LogWriter(bed.folder) as writer:
        tuner = Tuner(
            [task("after")],
            BENCH,
            cast(BuildPool, bed.pool),
            cast(Measurer, bed.measurer),
            writer,
            in_flight=1,
            overlap=True,
        )
        tuner.learn(Database.load([bed.folder]))
    assert tuner.model.samples(ANCHOR) > 0
    (search,) = tuner.searches
    assert isinstance(search, TaskSearch)
    assert search.tried == 0
