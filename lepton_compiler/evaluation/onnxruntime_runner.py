"""ONNX Runtime as a peer: the reference for agreement, and a rival for speed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as onnxruntime_errors

from lepton_compiler.core.errors import InputError
from lepton_compiler.evaluation.runner import Feed

_REFUSALS = (onnxruntime_errors.InvalidArgument, onnxruntime_errors.Fail, onnxruntime_errors.RuntimeException)


class OnnxRuntimeRunner:
    """An ONNX file in ONNX Runtime's CPU provider."""

    name = "onnxruntime"
    version = onnxruntime.__version__

    def __init__(
        self, model: Path, threads: int, shapes: Mapping[str, tuple[int, ...]], memory_patterns: bool = True
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.enable_mem_pattern = memory_patterns
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        # Warnings about odd but harmless models would land among our own output; errors are raised in any case.
        options.log_severity_level = 3
        # Its threads spin after a run in wait of the next; in interleaved rounds they would steal the others' cores.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, feed: Feed) -> dict[str, np.ndarray]:
        """Outputs by name.

        Raises:
            InputError: ONNX Runtime refuses the inputs, their values included: an index that lies outside, for example.
        """
        try:
            values = self._session.run(None, dict(feed))
        except (
            onnxruntime_errors.InvalidArgument,
            onnxruntime_errors.Fail,
            onnxruntime_errors.RuntimeException,
        ) as error:
            raise InputError(f"ONNX Runtime can't run the model on these inputs: {error}") from error
        return {name: np.asarray(value) for name, value in zip(self._outputs, values, strict=True)}

    def close(self) -> None:
        """Ends the session with its threads."""
        del self._session
