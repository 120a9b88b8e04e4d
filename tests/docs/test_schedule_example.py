"""The worked example of docs/how_to/add_a_schedule.md does what the page says."""

from __future__ import annotations

import re
import sys
import types
import typing
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import te, tirx

from lepton_compiler.targets.cpu import schedule as schedules
from lepton_compiler.targets.cpu.knobs import CandidateCollector
from lepton_compiler.targets.registry import get_target

PAGE = Path(__file__).parents[2] / "docs" / "how_to" / "add_a_schedule.md"


@pytest.fixture(scope="module")
def example() -> types.ModuleType:
    """The page's code as a module."""
    module = types.ModuleType("schedule_example")
    # Dataclasses look their module up by name.
    sys.modules[module.__name__] = module
    source = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    exec(compile("from __future__ import annotations\n" + source, str(PAGE), "exec"), module.__dict__)
    return module


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 16), (7, 100), (3, 257), (4, 640)])
@pytest.mark.parametrize("vectors", [None, 1, 3])
def test_example(example, monkeypatch, rows, columns, vectors):
    monkeypatch.setitem(schedules._SCHEDULERS, "column_squares", example.schedule_column_squares)
    knobs = None if vectors is None else example.ColumnSquaresKnobs(vectors)
    data = te.placeholder((rows, columns), "float32", name="data")
    result = example.column_squares(data)
    doubled = te.compute((columns,), lambda column: result[column] * tirx.const(2, "float32"), name="doubled")
    spec = get_target("native")
    scheduled = schedules.schedule_function(te.create_prim_func([data, doubled]), spec, knobs)
    assert (scheduled.anchor, scheduled.refused) == ("column_squares", None)
    target = tvm.target.Target(spec.llvm_target())
    with target:
        kernel = tvm.compile(tvm.IRModule({"main": scheduled.func}), target)
    values = np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)
    actual = tvm.runtime.tensor(np.zeros(columns, np.float32))
    kernel["main"](tvm.runtime.tensor(values), actual)
    np.testing.assert_allclose(actual.numpy(), 2 * np.square(values, dtype=np.float64).sum(axis=0), rtol=3e-6)


def test_candidates_of_the_example(example, monkeypatch):
    monkeypatch.setitem(schedules._SCHEDULERS, "column_squares", example.schedule_column_squares)
    spec = get_target("x86-64-v3")
    data = te.placeholder((5, 4 * spec.vector_lanes()), "float32", name="data")
    collector = CandidateCollector()
    schedules.schedule_function(te.create_prim_func([data, example.column_squares(data)]), spec, collector)
    assert collector.default == example.ColumnSquaresKnobs(4)
    assert {knobs.vectors for knobs in collector.candidates} == {1, 2, 3, 4}
    assert typing.get_args(typing.get_type_hints(example.schedule_column_squares)["knobs"])[0] is type(
        collector.default
    )
