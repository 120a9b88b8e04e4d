"""Files that verbs write: refused early, complete or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from lepton_compiler.core.errors import OutputError
from lepton_compiler.core.result_files import check_writable, complete_file


def test_checks_before_the_work(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    check_writable(path, force=False)
    path.touch()
    check_writable(path, force=True)
    with pytest.raises(OutputError, match="--force"):
        check_writable(path, force=False)
    with pytest.raises(OutputError, match="is a folder"):
        check_writable(tmp_path, force=True)
    with pytest.raises(OutputError, match="no folder"):
        check_writable(tmp_path / "absent" / "t.npz", force=False)


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    with complete_file(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    with pytest.raises(ValueError, match="no picture"), complete_file(path) as file:
        file.write(b"half")
        raise ValueError("no picture")
    assert list(tmp_path.iterdir()) == []
