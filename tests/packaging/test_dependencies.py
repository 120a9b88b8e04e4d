"""What ``pyproject.toml`` declares against what is there."""

from __future__ import annotations

import re
from importlib.metadata import version

from project_file import ROOT, project_table


def test_tvm_and_its_ffi_are_the_pinned_pair() -> None:
    """TVM's own metadata admits FFI releases of another ABI, with which it crashes."""
    pins = dict(
        requirement.split("==") for requirement in project_table()["project"]["dependencies"] if "==" in requirement
    )
    assert set(pins) == {"apache-tvm", "apache-tvm-ffi"}
    assert {name: version(name) for name in pins} == pins


def test_every_dependency_is_bounded_above() -> None:
    project = project_table()["project"]
    extras = [requirement for group in project["optional-dependencies"].values() for requirement in group]
    for requirement in [*project["dependencies"], *extras]:
        assert re.search(r"==|<|^lepton-compiler\[", requirement), f"{requirement} has no upper bound"


def test_the_package_list_names_every_package() -> None:
    listed = set(project_table()["tool"]["setuptools"]["packages"])
    assert listed == _packages("lepton_compiler", "") | _packages("passes", "lepton_compiler.") | _packages(
        "targets", "lepton_compiler."
    )


def _packages(folder: str, prefix: str) -> set[str]:
    found = set()
    for marker in (ROOT / folder).rglob("__init__.py"):
        parts = marker.parent.relative_to(ROOT).parts
        # Through the links lepton_compiler/passes and lepton_compiler/targets a package would count twice.
        if parts[:2] not in (("lepton_compiler", "passes"), ("lepton_compiler", "targets")):
            found.add(prefix + ".".join(parts))
    return found
