"""The worked example of docs/how_to/add_a_schedule.md does what the page says."""

from __future__ import annotations

import re
import sys
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from kernel_checks import lower, operator_module
from onnx import TensorProto, helper
from tvm import relax, tirx

from lepton_compiler.core.options import CompileOptions
from lepton_compiler.driver import compile_model
from lepton_compiler.passes.lowering import legalize_operators
from lepton_compiler.runtime.model import load
from lepton_compiler.targets.cpu import schedule as schedules
from lepton_compiler.targets.cpu.knobs import CandidateCollector
from lepton_compiler.targets.registry import get_target

PAGE = Path(__file__).parents[2] / "docs" / "how_to" / "add_a_schedule.md"


def _page() -> str:
    return PAGE.read_text(encoding="utf-8")


def _module() -> types.ModuleType:
    """The page's code as a module."""
    module = types.ModuleType("schedule_example")
    # Dataclasses look their module up by name.
    sys.modules[module.__name__] = module
    source = "\n".join(re.findall(r"```python\n(.*?)```", _page(), re.DOTALL))
    exec(compile("from __future__ import annotations\n" + source, str(PAGE), "exec"), module.__dict__)
    return module


EXAMPLE = _module()


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example with its two entries."""
    legalizers = legalize_operators._legalizers
    monkeypatch.setitem(schedules._SCHEDULERS, "column_sums", EXAMPLE.schedule_column_sums)
    monkeypatch.setattr(
        legalize_operators, "_legalizers", lambda target: {**legalizers(target), "relax.sum": EXAMPLE.legalize_sum}
    )


# The test that the page shows, with the parameters that stand there.
test_column_sums = pytest.mark.usefixtures("entered")(EXAMPLE.test_column_sums)


@pytest.mark.parametrize("vectors", [1, 3])
def test_other_knobs(entered: None, vectors: int, monkeypatch: pytest.MonkeyPatch) -> None:
    knobs = EXAMPLE.ColumnSumsKnobs(vectors)
    monkeypatch.setattr(EXAMPLE, "default_knobs", lambda columns, spec: knobs)
    EXAMPLE.test_column_sums((7, 100), ())


@pytest.mark.parametrize(
    ("axes", "dtype", "keepdims"), [([1], "float32", False), ([0], "float32", True), ([0], "int32", False)], ids=str
)
def test_other_sums_keep_the_schedule_that_they_have(
    entered: None, axes: Sequence[int], dtype: str, keepdims: bool
) -> None:
    module = operator_module(lambda emit, data: relax.op.sum(data, axis=axes, keepdims=keepdims), [(5, 16)], dtype)
    (kernel,) = _kernels(lower(module, get_target("native")))
    assert schedules.schedule_function(kernel, get_target("native")).anchor != "column_sums"


def test_a_model_reaches_it(entered: None, tmp_path: Path) -> None:
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [0])
    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"], "sum", keepdims=0)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [7, 100])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [100])]
    graph = helper.make_graph([node], "sums", inputs, outputs, [axes])
    model, library = tmp_path / "sums.onnx", tmp_path / "sums.so"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    manifest = compile_model(model, library, CompileOptions()).manifest
    assert [kernel.anchor for kernel in manifest.kernels] == ["column_sums"]
    data = np.random.default_rng(0).standard_normal((7, 100)).astype(np.float32)
    with load(library) as loaded:
        np.testing.assert_allclose(loaded(data)["y"], data.sum(axis=0), rtol=0, atol=1e-5)


def test_candidates_of_the_example(entered: None) -> None:
    """Those of the page's entry in ``CASES``."""
    (entry,) = re.findall(r"`Case\((.*)\)`\.", _page())
    _, anchor, build, shapes = eval(f"({entry})", {"relax": relax})
    spec = get_target("x86-64-v3")
    collector = CandidateCollector()
    assert schedules.schedule_function(_kernel(build, shapes), spec, collector).anchor == anchor
    assert collector.default == EXAMPLE.ColumnSumsKnobs(8)
    assert collector.candidates[0] == collector.default
    assert {knobs.vectors for knobs in collector.candidates} == set(range(1, 9))
    assert typing.get_args(typing.get_type_hints(EXAMPLE.schedule_column_sums)["knobs"])[0] is type(collector.default)


def _kernel(build: Callable[..., relax.Expr], shapes: Sequence[tuple[int, ...]]) -> tirx.PrimFunc:
    (kernel,) = _kernels(lower(operator_module(build, shapes), get_target("x86-64-v3")))
    return kernel


def _kernels(module: typing.Any) -> list[tirx.PrimFunc]:
    return [function for function in module.functions.values() if isinstance(function, tirx.PrimFunc)]
