"""Memory that runs of a model take, the same way for every runner: what its process grows by, seen from outside.

    loaded    anonymous memory once the model is loaded
    run       the peak while it runs again and again, less ``loaded`` and less the pages of mapped files

A run's memory is intermediate tensors, workspaces, outputs and whatever else the runner allocates for them. Weights
count nowhere, whether they were copied while loading or are pages of a mapped file. A runner that allocates its
intermediate tensors while it loads hides them; OpenVINO does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lepton_compiler.core.errors import RunError
from lepton_compiler.evaluation.lepton_runner import LeptonRunner
from lepton_compiler.evaluation.own_process import in_own_process
from lepton_compiler.evaluation.process_memory import process_memory, release_unused, reset_peak
from lepton_compiler.evaluation.runner import Runner

ORT_WITH_PATTERNS = "onnxruntime"
ORT_WITHOUT_PATTERNS = "onnxruntime without memory patterns"
RUNNERS = ("lepton", ORT_WITH_PATTERNS, ORT_WITHOUT_PATTERNS)
"""Whose memory can be told apart: ONNX Runtime in its default settings and in those that take the least memory."""

_RUNS = 3


@dataclass(frozen=True)
class MemoryRequest:
    """What to measure.

    Attributes:
        runner: One of ``RUNNERS``.
        artifact: The compiled library.
        model: The ONNX file.
        feed: Input tensors by name.
    """

    runner: str
    artifact: Path
    model: Path
    feed: Mapping[str, np.ndarray]


def measure_run_memory(request: MemoryRequest) -> int:
    """Bytes that a run takes at the most, with one thread, in a fresh process.

    Raises:
        LeptonError: The runner can't load or run the model, or the system counts no peaks.
    """
    return in_own_process(_measure, request, f"measured the memory of {request.runner}")


def _measure(request: MemoryRequest) -> int:
    runner = _open(request)
    release_unused()
    loaded = process_memory()
    # Pages of mapped weights come with the first run; from then on their number stays the same.
    runner.run(request.feed)
    try:
        reset_peak()
    except OSError as error:
        raise RunError(f"the system does not reset the peak of a process's memory: {error}") from error
    for _ in range(_RUNS):
        runner.run(request.feed)
    after = process_memory()
    runner.close()
    return after.peak_bytes - (after.resident_bytes - after.anonymous_bytes) - loaded.anonymous_bytes


def _open(request: MemoryRequest) -> Runner:
    if request.runner == "lepton":
        return LeptonRunner(request.artifact, 1)
    from lepton_compiler.evaluation.onnxruntime_runner import OnnxRuntimeRunner

    shapes = {name: value.shape for name, value in request.feed.items()}
    patterns = request.runner == ORT_WITH_PATTERNS
    return OnnxRuntimeRunner(request.model, 1, shapes, memory_patterns=patterns)
