"""Models of one node whose inputs are all fed at run time and whose output shapes are declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_graphs import IR_VERSION, dtype_code, import_file, run_program


def check_declared(
    op: str,
    arrays: Sequence[np.ndarray | None],
    attributes: Mapping[str, Any],
    folder: Path,
    *,
    opset: int = 21,
    outputs: int = 1,
    tolerance: float = 1e-5,
) -> None:
    """Imports the node with what ONNX's reference implementation gives as declared shapes, and compares the values."""
    path, feeds, wanted = declared_model(op, arrays, attributes, folder, opset=opset, outputs=outputs)
    for have, want in zip(run_program(import_file(path), feeds), wanted, strict=True):
        assert have.dtype == want.dtype
        assert have.shape == want.shape
        np.testing.assert_allclose(have, want, tolerance, tolerance, err_msg=f"{op} {dict(attributes)}")


def declared_model(
    op: str,
    arrays: Sequence[np.ndarray | None],
    attributes: Mapping[str, Any],
    folder: Path,
    *,
    opset: int = 21,
    outputs: int = 1,
    declare: bool = True,
) -> tuple[Path, dict[str, np.ndarray], list[np.ndarray]]:
    """The model's file, what it is fed, and what it has to give."""
    names = [f"x{i}" if array is not None else "" for i, array in enumerate(arrays)]
    feeds = {name: array for name, array in zip(names, arrays, strict=True) if array is not None}
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, results, "node", **attributes)
    inputs = [helper.make_tensor_value_info(name, dtype_code(array), array.shape) for name, array in feeds.items()]
    opsets = [helper.make_opsetid("", opset)]

    def model(infos: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
        return helper.make_model(
            helper.make_graph([node], "graph", inputs, infos), opset_imports=opsets, ir_version=IR_VERSION
        )

    untyped = model([onnx.ValueInfoProto(name=name) for name in results])
    wanted = [np.asarray(value) for value in ReferenceEvaluator(untyped).run(None, feeds)]
    infos = [
        helper.make_tensor_value_info(name, dtype_code(value), value.shape if declare else [None] * value.ndim)
        for name, value in zip(results, wanted, strict=True)
    ]
    path = folder / f"{op}.onnx"
    path.write_bytes(model(infos).SerializeToString())
    return path, feeds, wanted
