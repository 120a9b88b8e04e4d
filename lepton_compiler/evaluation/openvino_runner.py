"""OpenVINO as a peer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openvino

from lepton_compiler.evaluation.runner import Feed


class OpenVinoRunner:
    """An ONNX file on OpenVINO's CPU device."""

    name = "openvino"
    precision_hint = "f32"
    version = openvino.__version__.partition("-")[0]

    def __init__(self, model: Path, threads: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
        core = openvino.Core()
        network = core.read_model(str(model))
        inputs = {name: port for port in network.inputs for name in port.get_names()}
        network.reshape({inputs[name]: openvino.PartialShape(list(shape)) for name, shape in shapes.items()})
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
            # It would choose bfloat16 by itself where the processor has it.
            "INFERENCE_PRECISION_HINT": self.precision_hint,
            # All runners share the process's affinity; a thread that OpenVINO pins stays pinned after it.
            "ENABLE_CPU_PINNING": "NO",
        }
        self._compiled = core.compile_model(network, "CPU", options)
        self._request = self._compiled.create_infer_request()
        self._outputs = [min(port.get_names()) for port in self._compiled.outputs]

    def run(self, feed: Feed) -> dict[str, np.ndarray]:
        """Outputs by name."""
        results = self._request.infer(dict(feed), share_inputs=True)
        return {name: results[index] for index, name in enumerate(self._outputs)}

    def close(self) -> None:
        """Drops the compiled model with its threads."""
        del self._request
        del self._compiled


class OpenVinoBfloat16Runner(OpenVinoRunner):
    """The same, with products of bfloat16."""

    name = "openvino-bf16"
    precision_hint = "bf16"
