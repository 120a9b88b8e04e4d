"""The table of ``docs/onnx_support.md``: the operators of the default domain, who imports them, how their cases end."""

from __future__ import annotations

from collections import defaultdict

import onnx
from expectations import FOLDER, PASS, read_expectations

from lepton_compiler.frontend import function_bodies, tvm_converters
from lepton_compiler.frontend.operator_census import CONTROL_FLOW
from lepton_compiler.frontend.operators.registry import find_converter, find_run_time_converter

PAGE = FOLDER.parents[1] / "docs" / "onnx_support.md"
_BEGIN = "<!-- table: `pytest tests/onnx_backend --update-docs` writes it anew -->\n"
_END = "<!-- end of table -->\n"
_MOST_INPUTS = 16


def with_fresh_table(text: str) -> str:
    """The page with its table made anew."""
    head, rest = text.split(_BEGIN)
    return head + _BEGIN + "\n" + _table() + "\n" + _END + rest.split(_END)[1]


def _table() -> str:
    results: dict[str, list[str]] = defaultdict(list)
    for expectation in read_expectations().values():
        results[expectation.operator].append(expectation.result)
    rows = ["| operator | imported by | cases | pass | the others |", "|---|---|---:|---:|---|"]
    for name in _operators():
        ends = results.get(name, [])
        failures = sorted({end for end in ends if end != PASS})
        rows.append(f"| {name} | {_importer(name)} | {len(ends)} | {ends.count(PASS)} | {'; '.join(failures)} |")
    return "\n".join(rows) + "\n"


def _operators() -> list[str]:
    return sorted(
        {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == "" and not schema.deprecated}
    )


def _importer(name: str) -> str:
    version = onnx.defs.onnx_opset_version()
    if name in CONTROL_FLOW:
        return "written out where it is constant"
    if find_converter("", name, version) is not None:
        return "Lepton"
    if tvm_converters.is_available("", name):
        return "TVM"
    if find_run_time_converter("", name, range(_MOST_INPUTS)) is not None:
        return "Lepton, with a declared shape"
    return "its function body" if function_bodies.has_schema_function("", name, version) else "-"
