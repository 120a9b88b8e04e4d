"""Passes are where their name says, explain themselves, and are tested; the guide to writing one works as printed."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from lepton_compiler.core.pass_base import Pass

ROOT = Path(__file__).resolve().parents[2]


def _pass_classes() -> dict[Path, type[Pass]]:
    found = {}
    for path in sorted((ROOT / "passes").rglob("*.py")):
        module = "lepton_compiler." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for value in vars(importlib.import_module(module.removesuffix(".__init__"))).values():
            if isinstance(value, type) and issubclass(value, Pass) and value.__module__ == module:
                assert path not in found, f"{path} holds two passes"
                found[path.relative_to(ROOT)] = value
    return found


PASSES = _pass_classes()


@pytest.mark.parametrize("path", PASSES, ids=str)
def test_file_class_and_command_line_name_share_their_words(path: Path) -> None:
    assert PASSES[path].name().replace("-", "_") == path.stem


@pytest.mark.parametrize("path", PASSES, ids=str)
def test_a_pass_shows_what_it_does(path: Path) -> None:
    text = importlib.import_module(PASSES[path].__module__).__doc__ or ""
    assert text.startswith(f"{PASSES[path].__name__}: ")
    assert "->" in text
    assert PASSES[path].summary().endswith(".")


@pytest.mark.parametrize("path", PASSES, ids=str)
def test_a_pass_is_tested(path: Path) -> None:
    assert (ROOT / "tests" / path.parent / f"test_{path.name}").is_file()


def test_the_guide_works_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (ROOT / "docs" / "how_to" / "add_a_pass.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    # TVMScript reads the source of a class from its file, so there must be one.
    (tmp_path / "guide_to_a_pass.py").write_text("\n".join(blocks), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    tests = {
        name: value for name, value in vars(importlib.import_module("guide_to_a_pass")).items() if name[:5] == "test_"
    }
    assert len(tests) == 2
    for test in tests.values():
        test()
