"""Runs verbs inside this process, and compiles the small models once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from small_onnx_models import write_conv_model, write_tunable_model, write_winograd_model

from lepton_compiler.cli.main import main

Lepton = Callable[..., Result]


def run_lepton(*arguments: object) -> Result:
    """What ``lepton ARGUMENTS`` prints and returns; an exception that gets out is raised."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def lepton() -> Lepton:
    return run_lepton


@pytest.fixture(scope="session")
def fixed_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_conv_model(tmp_path_factory.mktemp("models") / "fixed.onnx")


@pytest.fixture(scope="session")
def tunable_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One kernel with knobs."""
    return write_tunable_model(tmp_path_factory.mktemp("models") / "tunable.onnx")


@pytest.fixture(scope="session")
def winograd_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers that several algorithms can compute."""
    return write_winograd_model(tmp_path_factory.mktemp("models") / "winograd.onnx")


@pytest.fixture(scope="session")
def batch_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with a symbolic batch."""
    return write_conv_model(tmp_path_factory.mktemp("models") / "batch.onnx", "batch")


def _compiled(model: Path) -> Path:
    library = model.with_suffix(".so")
    result = run_lepton("compile", model, "-o", library)
    assert result.exit_code == 0, result.output
    return library


@pytest.fixture(scope="session")
def fixed_library(fixed_model: Path) -> Path:
    return _compiled(fixed_model)


@pytest.fixture(scope="session")
def batch_library(batch_model: Path) -> Path:
    return _compiled(batch_model)
