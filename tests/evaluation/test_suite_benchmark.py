"""Rows of the suite: measured, failed and wrong ones."""

from __future__ import annotations

import pytest
from small_suite import BROKEN, NOT_TO_BE_HAD, SMALL_RESNET, SMALL_UNET

from lepton_compiler.evaluation import suite_benchmark
from lepton_compiler.evaluation.benchmark import BenchmarkRequest, RunnerTimes
from lepton_compiler.evaluation.interleaved_timing import Spread
from lepton_compiler.evaluation.suite.models import SuiteModel
from lepton_compiler.evaluation.suite_benchmark import SuiteRequest, SuiteRow, measure_suite


def rows_of(*models: SuiteModel, peers: tuple[str, ...] = ("onnxruntime",), batch: int = 1) -> list[SuiteRow]:
    request = SuiteRequest(models, peers, threads=(1,), batch=batch, rounds=3, warmup=1, seed=0)
    return list(measure_suite(request, lambda step: None))


def times(name: str, median: float, disagreement: str | None = None) -> RunnerTimes:
    if name == "lepton":
        return RunnerTimes(name, "1", 1, Spread(median, median, median), None, None, None, None)
    ratio = Spread(1 / median, 1 / median, 1 / median)
    return RunnerTimes(name, "1", 1, Spread(median, median, median), ratio, ratio, 1e-6, disagreement)


@pytest.fixture
def canned(monkeypatch: pytest.MonkeyPatch) -> list[RunnerTimes]:
    """What the timing of every model returns; compiling is left out."""
    result: list[RunnerTimes] = []
    monkeypatch.setattr(suite_benchmark, "in_own_process", lambda function, argument, work: (None, 1.5))
    monkeypatch.setattr(suite_benchmark, "run_benchmark", lambda request: list(result))
    return result


def test_one_failure_does_not_stop_the_others() -> None:
    small, broken, unet = rows_of(SMALL_RESNET, BROKEN, SMALL_UNET, batch=2)
    for row in (small, unet):
        assert row.problem is None
        assert row.best_peer == "onnxruntime"
        assert row.compile_seconds is not None and row.milliseconds is not None and row.speedup is not None
        assert 0 < row.speedup.p10 <= row.speedup.median <= row.speedup.p90
        assert row.max_error_of_range is not None and row.max_error_of_range < 1e-5
    assert broken == SuiteRow("broken", "Broken", 1, broken.load_average, None, problem=NOT_TO_BE_HAD)


def test_speed_is_compared_with_the_fastest_peer(canned: list[RunnerTimes]) -> None:
    canned += [times("lepton", 1.0), times("onnxruntime", 3.0), times("openvino", 2.0)]
    (row,) = rows_of(SMALL_RESNET, peers=("onnxruntime", "openvino"))
    assert row.best_peer == "openvino"
    assert row.speedup == canned[2].speedup
    assert [peer.name for peer in row.peers] == ["onnxruntime", "openvino"]
    assert row.compile_seconds == 1.5


def test_a_wrong_result_is_a_failure_with_its_times(canned: list[RunnerTimes]) -> None:
    canned += [
        times("lepton", 1.0),
        times("onnxruntime", 2.0, 'output "y": 3 elements are NaN'),
        times("openvino", 3.0),
    ]
    (row,) = rows_of(SMALL_RESNET)
    assert row.problem == 'disagrees with onnxruntime: output "y": 3 elements are NaN'
    assert row.speedup is not None


def test_onnxruntime_alone_judges_where_it_takes_part(canned: list[RunnerTimes]) -> None:
    canned += [times("lepton", 1.0), times("onnxruntime", 2.0), times("openvino", 3.0, "too far")]
    assert rows_of(SMALL_RESNET)[0].problem is None
    del canned[1]
    (row,) = rows_of(SMALL_RESNET)
    assert row.problem == "disagrees with openvino: too far"
    assert row.max_error_of_range is None


def test_without_peers_there_are_times_alone(canned: list[RunnerTimes]) -> None:
    canned += [times("lepton", 1.0)]
    (row,) = rows_of(SMALL_RESNET, peers=())
    assert (row.best_peer, row.speedup, row.max_error_of_range, row.problem) == (None, None, None, None)
    assert row.milliseconds == canned[0].milliseconds


def test_what_a_peer_raises_ends_in_its_row(canned: list[RunnerTimes], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(request: BenchmarkRequest) -> list[RunnerTimes]:
        raise RuntimeError("no primitive\n  for this node")

    monkeypatch.setattr(suite_benchmark, "run_benchmark", refuse)
    first, second = rows_of(SMALL_RESNET, SMALL_UNET)
    assert first.problem == second.problem == "no primitive for this node"
    assert first.compile_seconds == 1.5
