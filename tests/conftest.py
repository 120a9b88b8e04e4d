"""Options and fixtures that several test folders share."""

from __future__ import annotations

import os

import pytest
from compiled_models import CompiledModels

pytest_plugins = ("suite_report",)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-docs", action="store_true", help="write docs/generated anew instead of comparing it")


@pytest.fixture(scope="session")
def compiled_models(tmp_path_factory: pytest.TempPathFactory) -> CompiledModels:
    """Test models and their compiled libraries, each made once a run, whichever test process asks first."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    return CompiledModels(folder / "compiled_models")
