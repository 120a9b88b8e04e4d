"""``lepton inspect model.onnx``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lepton_compiler.cli.rendering import (
    bytes_text,
    count_text,
    progress,
    shape_text,
    show_facts,
    show_json,
    show_table,
)
from lepton_compiler.core.options import Dim

if TYPE_CHECKING:
    from lepton_compiler.evaluation.model_inspection import ModelInspection, OutputTensor

_SHOWN_NODES = 3


def inspect_model_file(
    path: Path, input_shapes: Mapping[str, tuple[Dim, ...]], *, list_nodes: bool, as_json: bool
) -> None:
    """Prints what an ONNX file holds and asks for."""
    with progress("read the model"):
        from lepton_compiler.evaluation.model_inspection import inspect_model

        inspection = inspect_model(path, input_shapes)
    if as_json:
        show_json(_document(inspection))
        return
    show_facts(
        [
            ("model", f"{inspection.file}, written by {inspection.producer or 'a program that does not say'}"),
            ("opset", ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in inspection.opsets.items())),
            ("inputs", ", ".join(f"{spec.name} {spec.dtype} {shape_text(spec.shape)}" for spec in inspection.inputs)),
            ("outputs", ", ".join(_output_text(output) for output in inspection.outputs)),
            ("parameters", count_text(inspection.statistics.parameters)),
            ("weights", bytes_text(inspection.statistics.weight_bytes)),
            ("MACs", _macs_text(inspection)),
        ]
    )
    _show_operators(inspection, list_nodes)
    click.echo(inspection.refusal or "every node can be imported")


def _show_operators(inspection: ModelInspection, list_nodes: bool) -> None:
    columns = ["operator", "nodes>", "converter", *(["which"] if list_nodes else [])]
    rows = [
        [operator.operator, str(len(operator.nodes)), operator.converter]
        + ([", ".join(operator.nodes)] if list_nodes else [])
        for operator in inspection.operators
    ]
    show_table(None, columns, rows)


def _document(inspection: ModelInspection) -> dict[str, Any]:
    statistics = inspection.statistics
    return {
        "file": inspection.file,
        "producer": inspection.producer,
        "opsets": inspection.opsets,
        "inputs": inspection.inputs,
        "outputs": inspection.outputs,
        "nodes": statistics.nodes,
        "parameters": statistics.parameters,
        "weight_bytes": statistics.weight_bytes,
        "macs": statistics.macs,
        "macs_without_nodes": statistics.uncounted_nodes,
        "macs_at_batch_1": inspection.batch_is_one,
        "operators": inspection.operators,
        "importable": inspection.refusal is None,
        "refusal": inspection.refusal,
    }


def _output_text(output: OutputTensor) -> str:
    shape = "of unknown shape" if output.shape is None else shape_text(output.shape)
    return " ".join(filter(None, (output.name, output.dtype, shape)))


def _macs_text(inspection: ModelInspection) -> str:
    statistics = inspection.statistics
    text = count_text(statistics.macs)
    if inspection.batch_is_one:
        text += " at batch 1"
    if statistics.uncounted_nodes:
        shown = ", ".join(statistics.uncounted_nodes[:_SHOWN_NODES])
        text += (
            f", without {len(statistics.uncounted_nodes)} nodes of unknown shape ({shown}, ...): "
            "--input-shapes with numbers counts them"
        )
    return text
