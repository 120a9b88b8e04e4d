"""The cases of ONNX's backend test suite, whatever place the ``onnx`` package keeps them in."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "real")
_EXPANDED = re.compile(r"_expanded(_ver\d+)?$")
Values = list[Any]
"""Arrays, or lists and None where an input or output is a sequence or an optional."""


@dataclass(frozen=True)
class BackendCase:
    """One case: a model, what it is fed and what it has to give."""

    name: str
    kind: str
    _test: TestCase

    @property
    def model_path(self) -> Path | None:
        """The model's file, None where the suite builds the model in memory."""
        if self._test.model_dir is not None:
            return Path(self._test.model_dir) / "model.onnx"
        if self._test.url is not None:
            return Path(onnx.__file__).parents[1] / self._test.url
        return None

    def model(self) -> onnx.ModelProto:
        """The model."""
        path = self.model_path
        model = onnx.load(path) if path is not None else self._test.model
        assert model is not None, f"case {self.name} has neither a file nor a model"
        return model

    @property
    def operator(self) -> str:
        """The operator that a ``node`` case is about, ``model`` for the others."""
        return self.model().graph.node[0].op_type if self.kind == "node" else "model"

    def data_sets(self, model: onnx.ModelProto) -> Iterator[tuple[Values, Values]]:
        """Inputs and expected outputs, each in the graph's order; an input that is not fed is None."""
        if self._test.data_sets is not None:
            for inputs, outputs in self._test.data_sets:
                yield [_as_array(value) for value in inputs], [_as_array(value) for value in outputs]
        elif self._test.model_dir is not None:
            for folder in sorted(Path(self._test.model_dir).glob("test_data_set*")):
                yield (
                    _read_values(folder, "input", model.graph.input),
                    _read_values(folder, "output", model.graph.output),
                )
        else:
            yield _ramps(model), _light_outputs(self.model_path, model)

    def check(self, outputs: Values, expected: Values) -> None:
        """Compares as the suite's own runner does.

        Raises:
            AssertionError: A count, shape, element type or value differs.
        """
        Runner.assert_similar_outputs(expected, outputs, self._test.rtol, self._test.atol)


def load_cases() -> dict[str, BackendCase]:
    """All cases by name."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        tests = [(kind, test) for kind in KINDS for test in load_model_tests(kind=kind)]
    return {test.name: BackendCase(test.name, kind, test) for kind, test in tests}


def operators_of(cases: dict[str, BackendCase]) -> dict[str, str]:
    """The operator that each case tests; one that is written out as its function body belongs to its operator."""
    plain = {name: _EXPANDED.sub("", name) for name in cases}
    return {name: cases[base if base in cases else name].operator for name, base in plain.items()}


def _as_array(value: Any) -> Any:
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _read_values(folder: Path, prefix: str, infos: Any) -> Values:
    count = len(list(folder.glob(f"{prefix}_*.pb")))
    return [_read_value(folder / f"{prefix}_{i}.pb", infos[i].type) for i in range(count)]


def _read_value(path: Path, kind: onnx.TypeProto) -> Any:
    data = path.read_bytes()
    if kind.HasField("sequence_type"):
        return onnx.numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind.HasField("optional_type"):
        return onnx.numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return onnx.numpy_helper.to_array(onnx.TensorProto.FromString(data))


def _ramps(model: onnx.ModelProto) -> Values:
    """What the suite feeds to models that come without inputs: numbers rising from 0 to 1; None for initializers."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [None if info.name in constants else Runner.generate_dummy_data(info) for info in model.graph.input]


def _light_outputs(path: Path | None, model: onnx.ModelProto) -> Values:
    if path is None:
        raise ValueError("a model without expected outputs")
    files = [path.with_name(f"{path.stem}_output_{i}.pb") for i in range(len(model.graph.output))]
    return [_read_value(file, info.type) for file, info in zip(files, model.graph.output, strict=True)]
