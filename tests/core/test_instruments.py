"""Instruments: seconds by pass, and a dump that parses back."""

from __future__ import annotations

from pathlib import Path

import pytest
import tvm
from tiny_programs import Relu

from lepton_compiler.core import instruments
from lepton_compiler.core.instruments import ModuleDumper, PassTimer


def test_the_timer_adds_up_by_name_in_order_of_first_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 10.0, 12.0, 20.0, 24.0])
    monkeypatch.setattr(instruments.time, "perf_counter", lambda: next(clock))
    timer = PassTimer()
    for name in ("fold", "fuse", "fold"):
        timer.before_pass(name, Relu)
        timer.after_pass(name, Relu)
    assert list(timer.seconds.items()) == [("fold", 5.0), ("fuse", 2.0)]


def test_dumps_are_numbered_and_parse_back(tmp_path: Path) -> None:
    dumper = ModuleDumper(tmp_path / "dumps")
    for name in ("fold", "fuse"):
        dumper.before_pass(name, Relu)
        dumper.after_pass(name, Relu)
    files = sorted(path.name for path in dumper.folder.iterdir())
    assert files == ["000_imported.py", "001_fold.py", "002_fuse.py"]
    text = (dumper.folder / "002_fuse.py").read_text(encoding="utf-8")
    tvm.ir.assert_structural_equal(tvm.script.from_source(text), Relu)
