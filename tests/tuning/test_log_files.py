"""Where logs lie and how they are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from lepton_compiler.core.errors import TuningLogError
from lepton_compiler.tuning.log_files import find_logs, log_folder, model_of


@pytest.mark.parametrize(
    ("model", "folder"),
    [
        ("resnet50", "resnet50"),
        ("PP-OCR rec/v4", "PP-OCR_rec_v4"),
        ("../../etc", "_.._etc"),
        (".x", "x"),
        ("größe", "gr__e"),
    ],
)
def test_a_model_has_a_folder(model: str, folder: str) -> None:
    assert log_folder(Path("root"), "x86-64-v3", model) == Path("root", "x86-64-v3", folder)


@pytest.mark.parametrize("model", ["", ".", "..", "/", "大"])
def test_a_model_name_of_nothing_is_refused(model: str) -> None:
    with pytest.raises(TuningLogError, match="can't name a folder"):
        log_folder(Path("root"), "x86-64-v3", model)


def test_the_model_of_a_log() -> None:
    assert model_of(Path("logs/x86-64-v3/resnet50/records.jsonl"), "x86-64-v3") == "resnet50"
    assert model_of(Path("/downloads/theirs.jsonl"), "x86-64-v3") == "theirs"


def test_logs_are_found_once_and_in_order(tmp_path: Path) -> None:
    for name in ("b/one.jsonl", "a/two.jsonl", "a/note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    expected = [tmp_path / "a/two.jsonl", tmp_path / "b/one.jsonl"]
    assert find_logs([tmp_path]) == expected
    assert find_logs([tmp_path, tmp_path / "b/one.jsonl", tmp_path / "a/../a"]) == expected
    assert find_logs([tmp_path / "a/note.txt"]) == [tmp_path / "a/note.txt"], "a file that is named is read"


def test_nothing_to_find_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TuningLogError, match="does not exist"):
        find_logs([tmp_path / "absent"])
    with pytest.raises(TuningLogError, match="no tuning log"):
        find_logs([tmp_path])
