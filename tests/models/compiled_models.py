"""Compiles the test models, each at most once in a test run, also where several test processes share it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from model_zoo import ModelUnavailableError, ZooModel

from lepton_compiler.core.options import CompileOptions


class CompiledModels:
    """ONNX files and compiled libraries of test models in one folder.

    Args:
        folder: Where they are written; test processes of one run share it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def model(self, model: ZooModel) -> Path:
        """The model's ONNX file; skips the test where it is not to be had."""
        with self._locked(model.name):
            try:
                return model.file(self._folder)
            except ModelUnavailableError as error:
                pytest.skip(str(error))

    def library(self, model: ZooModel, target: str = "native") -> Path:
        """The model, compiled for ``target`` with the input shapes that the zoo gives."""
        from lepton_compiler.driver import compile_model

        source = self.model(model)
        library = self._folder / target / f"{model.name}.so"
        with self._locked(f"{model.name}-{target}"):
            if not library.is_file():
                library.parent.mkdir(exist_ok=True)
                compile_model(source, library, CompileOptions(target=target, input_shapes=model.shapes))
        return library

    def discard(self, model: ZooModel) -> None:
        """Deletes what was written for the model: large ones would fill the disk together."""
        (self._folder / f"{model.name}.onnx").unlink(missing_ok=True)
        for library in self._folder.glob(f"*/{model.name}.so"):
            library.unlink()

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with (self._folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
