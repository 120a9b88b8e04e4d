"""Packages that some verbs alone need: refused by name, and imported nowhere else."""

from __future__ import annotations

import importlib.util
import sys
from subprocess import run

import pytest

from lepton_compiler.core.errors import MissingExtraError
from lepton_compiler.core.optional_packages import OPTIONAL_PACKAGES, OptionalPackage


@pytest.mark.parametrize("package", OPTIONAL_PACKAGES, ids=lambda package: package.name)
def test_a_missing_package_names_its_extra(package: OptionalPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as caught:
        package.require("what it is for")
    assert str(caught.value) == (
        f'what it is for needs the package "{package.name}", which is not installed; '
        f"install it with: pip install 'lepton-compiler[{package.extra}]'"
    )


@pytest.mark.parametrize(("module", "is_refused"), [("pytest", False), ("no_such_module", True)])
def test_only_a_package_that_is_not_there_is_refused(module: str, is_refused: bool) -> None:
    """What counts is the module: several distributions may bring it."""
    refused = False
    try:
        OptionalPackage("no-such-distribution", module, "test", "tests").require("this test")
    except MissingExtraError:
        refused = True
    assert refused is is_refused


def test_versions_of_all_distributions_of_a_module() -> None:
    own = OptionalPackage("no-such-distribution", "pytest", "test", "tests", others=("pytest",))
    assert own.version() == pytest.__version__
    assert OptionalPackage("no-such-distribution", "pytest", "test", "tests").version() is None


def test_the_command_line_loads_none_of_them() -> None:
    assert _modules_after("lepton_compiler.cli.main").isdisjoint({"matplotlib", "xgboost", "PIL"})


def test_compiling_with_a_log_does_without_the_search() -> None:
    """Records are used on machines where nothing is tuned."""
    assert "xgboost" not in _modules_after("lepton_compiler.tuning.tuned_knobs")


def _modules_after(module: str) -> set[str]:
    """What a process has loaded after importing a module."""
    code = f"import sys, {module}; print(*sys.modules)"
    return set(run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
