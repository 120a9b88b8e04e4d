"""What the guide shows of tables that come from the code alone is what verbs print today."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner
from file_tables import ROOT
from onnx import TensorProto, helper

from lepton_compiler.cli.kernel_table import kernel_columns
from lepton_compiler.cli.main import main
from lepton_compiler.cli.tune import PLAN_COLUMNS, REPORT_COLUMNS
from lepton_compiler.cli.tune import command as tune
from lepton_compiler.core.manifest import FORMAT
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.driver import compile_model
from lepton_compiler.evaluation.interleaved_timing import RATIO_NOTE
from lepton_compiler.evaluation.machine_probe import MachinePeaks, MemoryPeak
from lepton_compiler.evaluation.suite_report import column_names
from lepton_compiler.pipeline import build_pipeline

_RULE = "─"
_GAP = re.compile(r" {2,}")


def _example(page: str, command: str) -> list[str]:
    """The lines that a page shows below a command."""
    text = (ROOT / "docs" / "guide" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n\$ (.*?)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return dict(blocks)[command].splitlines()


def _tables(lines: list[str]) -> list[list[list[str]]]:
    """The tables among lines, each with its headings first; a table ends where the next one's headings stand."""
    rules = [place for place, line in enumerate(lines) if line.strip().startswith(_RULE)]
    ends = [place - 1 for place in rules[1:]] + [len(lines)]
    return [
        [_GAP.split(line.strip()) for line in (lines[rule - 1], *lines[rule + 1 : end])]
        for rule, end in zip(rules, ends, strict=True)
    ]


def _headings(columns: list[str] | tuple[str, ...]) -> list[str]:
    return [column.rstrip(">") for column in columns]


def test_targets() -> None:
    """All but what depends on the machine."""
    printed = CliRunner().invoke(main, ["targets"]).stdout.splitlines()
    (shown,), (expected,) = _tables(_example("targets.md", "lepton targets")), _tables(printed)
    place = expected[0].index("runs here")
    assert [row[:place] + row[place + 1 :] for row in shown] == [row[:place] + row[place + 1 :] for row in expected]


def test_passes_of_an_artifact() -> None:
    *_, shown = _tables(_example("inspect.md", "lepton inspect one.so"))
    passes = [(pass_.name(), plan.stage.name) for plan in build_pipeline(CompileOptions()) for pass_ in plan.passes]
    assert [tuple(row[:2]) for row in shown] == [("pass", "stage"), ("import", "IMPORTED"), *passes]


def test_facts_of_an_artifact(tmp_path: Path) -> None:
    """Each line by its label, and the format, which is the code's alone."""
    shown = _example("inspect.md", "lepton inspect one.so")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", value[:1], value[1:])
    model, library = tmp_path / "relu.onnx", tmp_path / "relu.so"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    compile_model(model, library)
    printed = CliRunner().invoke(main, ["inspect", str(library)]).stdout.splitlines()
    facts = [[_GAP.split(line)[0] for line in lines if line[:1] not in ("", " ")] for lines in (shown, printed)]
    assert facts[0] == facts[1]
    assert shown[0].endswith(f"format {FORMAT}")


def test_the_suite() -> None:
    lines = _example("benchmark.md", "lepton benchmark --suite resnet18,ppocr_rec --output results.json")
    (shown,) = _tables(lines)
    assert shown[0] == _headings(column_names({"peers": ["onnxruntime", "openvino"]}))
    assert RATIO_NOTE in lines
    assert lines[-1].endswith("batch 1, 20 interleaved rounds, precision fp32")


def test_one_model_beside_its_peers() -> None:
    command = "lepton benchmark one.so mobilenetv2.onnx --against onnxruntime,openvino --threads 1,2"
    assert RATIO_NOTE in _example("benchmark.md", command)


@pytest.mark.parametrize(
    ("page", "command", "with_peaks"),
    [
        ("profile.md", "lepton profile one.so --threads 1 --top 4", True),
        ("inspect.md", "lepton inspect one.so --profile --threads 1", False),
    ],
)
def test_kernels(page: str, command: str, with_peaks: bool) -> None:
    peaks = MachinePeaks(1, (), MemoryPeak("read", 1, 1.0), MemoryPeak("read", 1, 1.0)) if with_peaks else None
    shown = _tables(_example(page, command))[0]
    assert shown[0] == _headings(kernel_columns(peaks))


def test_tuning() -> None:
    (plan,) = _tables(_example("tune.md", "lepton tune mobilenetv2.onnx --dry-run"))
    assert plan[0] == _headings(PLAN_COLUMNS)
    command = 'lepton tune mobilenetv2.onnx --tasks "fused_conv2d_add_clip_[1-6]" --trials 150 --report report.html'
    (report,) = _tables(_example("tune.md", command))
    assert report[0] == _headings(REPORT_COLUMNS)


_EXPLAINED_ELSEWHERE = (
    "--help",
    "--disable-pass",
    "--no-winograd",
    "--max-winograd-error",
    "--no-merge-products",
    "--keep-fp32",
    "--output",
)
"""Options of several verbs, and the long form of ``-o``."""


def test_options_of_tuning() -> None:
    """The guide names every other option of the verb."""
    text = (ROOT / "docs" / "guide" / "tune.md").read_text(encoding="utf-8")
    options = [option for parameter in tune.params for option in parameter.opts if option.startswith("--")]
    assert not [option for option in options if option not in (*_EXPLAINED_ELSEWHERE, *re.findall(r"--[a-z-]+", text))]
