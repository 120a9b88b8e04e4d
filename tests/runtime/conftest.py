"""Fixtures for the runtime's tests: hand-written models as libraries."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from tiny_library import TRIPLES, LibraryBuilder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if platform.system() != "Linux" or platform.machine() not in TRIPLES:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="the runtime needs Linux on x86-64, aarch64 or armv7"))


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> LibraryBuilder:
    """Compiles models into libraries."""
    return LibraryBuilder(tmp_path_factory.mktemp("runtime"))


@pytest.fixture(scope="session")
def affine(builder: LibraryBuilder) -> Path:
    """Library with x float32 [4, 6] -> y = relu(x * scale), s = sum(y)."""
    return builder.build("affine")


@pytest.fixture(scope="session")
def symbolic(builder: LibraryBuilder) -> Path:
    """Library with a [batch, width], b [batch, 4] -> sum, row_ids, tail."""
    return builder.build("symbolic")


@pytest.fixture(scope="session")
def copies(builder: LibraryBuilder) -> Path:
    """Library that copies an input of every dtype."""
    return builder.build("copies")


@pytest.fixture(scope="session")
def behaviours(builder: LibraryBuilder) -> Path:
    """Library whose kernel does what its input asks for."""
    return builder.build("behaviours")
