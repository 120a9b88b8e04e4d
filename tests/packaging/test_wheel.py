"""The wheel: everything that the source tree has, and nothing that the tree is needed for."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE_FOLDERS = {
    "lepton_compiler": "lepton_compiler",
    "passes": "lepton_compiler/passes",
    "targets": "lepton_compiler/targets",
}
"""Folders of the checkout and where their files lie in the wheel."""

MODULES = (
    "lepton_compiler",
    "lepton_compiler.cli.main",
    "lepton_compiler.driver",
    "lepton_compiler.pipeline",
    "lepton_compiler.passes",
    "lepton_compiler.runtime.model",
    "lepton_compiler.targets.registry",
)

_IMPORTS = """
import importlib, pathlib, sys
folder = pathlib.Path(sys.argv[1]).resolve()
for name in sys.argv[2:]:
    module = importlib.import_module(name)
    if folder not in pathlib.Path(module.__file__).resolve().parents:
        sys.exit(f"{name} comes from {module.__file__}, not from the wheel")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tree: stale build folders can't slip into it, and none is left behind."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for name in SOURCE_FOLDERS:
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def _source_files() -> set[str]:
    names = set()
    for folder, place in SOURCE_FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".c", ".h"):
                names.add(f"{place}/{path.relative_to(ROOT / folder)}")
    return names


def test_the_wheel_holds_every_source_file_and_no_other(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == _source_files()


def test_the_wheel_imports_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--target", str(installed), str(wheel)], check=True)
    modules = [
        "lepton_compiler",
        "lepton_compiler.passes",
        "lepton_compiler.targets.registry",
        "lepton_compiler.driver",
    ]
    modules += ["lepton_compiler.pipeline", "lepton_compiler.runtime.model", "lepton_compiler.cli.main"]
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS, str(installed), *MODULES],
        cwd=elsewhere,
        env={"PYTHONPATH": str(installed), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
