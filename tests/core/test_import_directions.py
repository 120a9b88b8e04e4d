"""Who may import whom, and what must load without TVM: the architecture as a test."""

from __future__ import annotations

import pytest
from source_imports import all_imports, imports_when_loaded, source_files

LAYERS = (
    ("targets",),
    ("core",),
    ("passes",),
    ("frontend", "tuning", "devices", "build", "runtime"),
    (
        "pipeline",
        "driver",
        "tuning.lowered_model",
        "tuning.accuracy_gate",
        "tuning.session",
        "tuning.slower_algorithms",
        "tuning.tuning_report",
    ),
    ("evaluation",),
    ("cli",),
)
"""From the bottom up: a package imports from its own layer and those below. A tuning session takes a model through
the pipeline, which in turn asks the rest of ``tuning`` for knobs."""

LOGS = ("database", "knob_values", "log_", "ranking", "record")
"""Beginnings of the modules in ``tuning`` that read and write logs, which needs no compiler."""

LOAD_WITHOUT_TVM = (
    "lepton_compiler",
    "lepton_compiler.core.errors",
    "lepton_compiler.core.manifest",
    "lepton_compiler.core.options",
    "lepton_compiler.targets.registry",
    "lepton_compiler.targets.spec",
    "lepton_compiler.cli.main",
    *(module for module in source_files() if module.startswith("lepton_compiler.runtime.")),
    *(
        module
        for module in source_files()
        if module.startswith(tuple(f"lepton_compiler.tuning.{name}" for name in LOGS))
    ),
)


def _layer(module: str) -> int:
    package = module.split(".")[1]
    levels = {name: level for level, packages in enumerate(LAYERS) for name in packages}
    return levels.get(module.removeprefix("lepton_compiler."), levels[package])


def _imported_packages(module: str) -> list[str]:
    return sorted(name for name in all_imports(module) if name.startswith("lepton_compiler."))


@pytest.mark.parametrize("module", [name for name in source_files() if name != "lepton_compiler"])
def test_imports_lead_downwards(module: str) -> None:
    upwards = [name for name in _imported_packages(module) if _layer(name) > _layer(module)]
    assert not upwards, f"{module} imports from above: {upwards}"


@pytest.mark.parametrize("module", [name for name in source_files() if name.startswith("lepton_compiler.targets")])
def test_targets_know_nothing_but_targets(module: str) -> None:
    assert all(name.startswith("lepton_compiler.targets") for name in _imported_packages(module))


def test_core_knows_of_targets_only_what_a_target_is() -> None:
    for module in source_files():
        if module.startswith("lepton_compiler.core"):
            others = {name for name in _imported_packages(module) if name.startswith("lepton_compiler.targets")}
            assert others <= {"lepton_compiler.targets.spec"}, module


@pytest.mark.parametrize("module", LOAD_WITHOUT_TVM)
def test_loads_without_tvm(module: str) -> None:
    """TVM takes seconds to import; the runtime and the command line must start in a fraction of one."""
    loaded = {module: module}
    waiting = [module]
    while waiting:
        current = waiting.pop()
        for name in imports_when_loaded(current):
            parents = [".".join(name.split(".")[: i + 1]) for i in range(name.count(".") + 1)]
            for found in parents:
                if found not in loaded:
                    loaded[found] = f"{loaded[current]} -> {found}"
                    waiting += [found] if found in source_files() else []
    assert "tvm" not in loaded, loaded.get("tvm")


def test_everything_is_listed() -> None:
    """A new package must be given its layer here."""
    packages = {name.split(".")[1] for name in source_files() if "." in name}
    assert packages <= {package for layer in LAYERS for package in layer}
