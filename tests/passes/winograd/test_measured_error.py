"""The estimated error of Winograd's algorithms against what whole convolutions show, also with many channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lepton_compiler.core.options import CompileOptions
from lepton_compiler.driver import compile_model
from lepton_compiler.passes.winograd.transforms import F2, F4, WinogradTransform
from lepton_compiler.runtime.model import load

OUTPUTS, SIZE = 64, 24
RNG = np.random.default_rng(9)


def _save(path: Path, data: np.ndarray, weight: np.ndarray) -> None:
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1, 1, 1, 1])],
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, data.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, OUTPUTS, SIZE, SIZE])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)


def _compiled(path: Path, data: np.ndarray, max_error: float) -> tuple[np.ndarray, str]:
    """The result, and the names of all kernels."""
    library = path.with_suffix(".so")
    options = CompileOptions(target="native", max_winograd_error=max_error)
    compile_model(path, library, options, force=True)
    with load(library) as model:
        kernels = [entry.name for entry in model.profile(data)]
        return model(data)["y"], " ".join(kernels)


def _exact(data: np.ndarray, weight: np.ndarray) -> np.ndarray:
    padded = np.pad(data.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    taps = [
        np.einsum("oc,nchw->nohw", weight[:, :, i, j].astype(np.float64), padded[:, :, i : i + SIZE, j : j + SIZE])
        for i in range(3)
        for j in range(3)
    ]
    return np.sum(taps, axis=0)


@pytest.mark.parametrize("channels", [64, 512, 1024])
@pytest.mark.parametrize("transform", [F2, F4], ids=["F2", "F4"])
def test_the_estimate_holds(transform: WinogradTransform, channels: int, tmp_path: Path) -> None:
    data = RNG.standard_normal((1, channels, SIZE, SIZE)).astype(np.float32)
    weight = RNG.standard_normal((OUTPUTS, channels, 3, 3)).astype(np.float32) / np.float32(np.sqrt(9 * channels))
    _save(tmp_path / "conv.onnx", data, weight)
    actual, kernels = _compiled(tmp_path / "conv.onnx", data, transform.expected_error() * 1.01)
    exact = _exact(data, weight)
    error = np.abs(actual - exact).max() / np.ptp(exact)
    assert "winograd" in kernels
    assert error <= transform.expected_error()


def test_one_nan_spoils_its_tile_and_no_more(tmp_path: Path) -> None:
    data = RNG.standard_normal((1, 64, SIZE, SIZE)).astype(np.float32)
    weight = RNG.standard_normal((OUTPUTS, 64, 3, 3)).astype(np.float32)
    _save(tmp_path / "conv.onnx", data, weight)
    data[0, 3, 9, 9] = np.nan
    actual, _ = _compiled(tmp_path / "conv.onnx", data, F4.expected_error() * 1.01)
    spoiled = np.isnan(actual[0, 0])
    assert spoiled[8:11, 8:11].all()
    assert not spoiled[:8].any() and not spoiled[12:].any()
    assert spoiled[8:12, 8:12].all()
