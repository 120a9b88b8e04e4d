"""Model: a compiled library as a Python callable over NumPy arrays."""

from __future__ import annotations

import ctypes
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from lepton_compiler.core.abi import API_VERSION, MAX_THREADS
from lepton_compiler.core.errors import ArtifactError, InputError, RunError
from lepton_compiler.core.manifest import Manifest, TensorEntry
from lepton_compiler.runtime import tensors
from lepton_compiler.runtime.artifact_file import ArtifactFile, check_runs_here, read_artifact
from lepton_compiler.runtime.library import (
    CKernelInfo,
    CMemoryInfo,
    CTensor,
    KernelHook,
    Library,
    load_library,
)


@dataclass(frozen=True)
class KernelTime:
    """One kernel of a profiled run: its symbol, the model nodes that it computes, and the seconds that it took."""

    name: str
    nodes: str
    seconds: float


@dataclass(frozen=True)
class MemoryUse:
    """Memory of a model in bytes; ``lepton_memory_info`` in ``lepton.h`` explains the fields."""

    weights_bytes: int
    arena_bytes: int
    workspace_bytes: int
    buffer_bytes: int


def load(path: str | Path, threads: int | None = None) -> Model:
    """Loads a compiled model.

    Every byte of the file is checked before any of its code runs.

    Args:
        path: The shared library that ``lepton compile`` wrote.
        threads: Number of threads that run kernels; None for the processors that this process may run on.

    Raises:
        ArtifactError: The file is no compiled model, is damaged, or can't run on this machine.
        InputError: ``threads`` is out of range.
    """
    artifact = read_artifact(path)
    check_runs_here(artifact)
    _check_tensors(artifact)
    return Model(artifact, load_library(artifact), threads)


def _check_tensors(artifact: ArtifactFile) -> None:
    manifest = artifact.manifest
    problems = [tensors.check_entry("input", entry) for entry in manifest.inputs]
    problems += [tensors.check_entry("output", entry) for entry in manifest.outputs]
    for problem in filter(None, problems):
        raise ArtifactError(f"{artifact.path} can't be loaded: {problem}")


class Model:
    """A loaded model; ``load`` makes one.

    Calls from several threads are allowed and wait for each other; load the file again to run at the same time.

    Attributes:
        manifest: What the library says of itself.
    """

    def __init__(self, artifact: ArtifactFile, library: Library, threads: int | None = None) -> None:
        self.manifest: Manifest = artifact.manifest
        self._library = library
        self._functions = library.functions
        self._lock = threading.Lock()
        session = ctypes.c_void_p()
        library.check(self._functions.lepton_open(API_VERSION, ctypes.byref(session)))
        self._session: int | None = session.value
        # Closes the session when the model is collected, or the interpreter ends.
        self._finalizer = weakref.finalize(self, self._functions.lepton_close, session)
        if threads is not None:
            self.threads = threads

    @property
    def inputs(self) -> tuple[TensorEntry, ...]:
        """The inputs in order; a dimension is a size or the name of a symbol."""
        return self.manifest.inputs

    @property
    def outputs(self) -> tuple[TensorEntry, ...]:
        """The outputs in order; a dimension is a size, a symbol or an expression of symbols."""
        return self.manifest.outputs

    @property
    def threads(self) -> int:
        """Number of threads that run kernels. Set it to 0 for the processors that this process may run on."""
        with self._lock:
            return self._functions.lepton_threads(self._open_session())

    @threads.setter
    def threads(self, count: int) -> None:
        if not isinstance(count, int | np.integer):
            raise InputError(f"threads must be a number from 0 to {MAX_THREADS}, given {count!r}")
        if not 0 <= count <= MAX_THREADS:
            raise InputError(f"threads must be 0 to {MAX_THREADS}, given {count}")
        with self._lock:
            self._library.check(self._functions.lepton_set_threads(self._open_session(), count))

    @property
    def memory(self) -> MemoryUse:
        """The memory that the model holds now."""
        info = CMemoryInfo()
        with self._lock:
            self._library.check(self._functions.lepton_memory(self._open_session(), ctypes.byref(info)))
        return MemoryUse(info.weights_bytes, info.arena_bytes, info.workspace_bytes, info.buffer_bytes)

    def __call__(self, /, *arrays: np.ndarray, **named: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the model.

        Args:
            *arrays: Inputs in the model's order.
            **named: Inputs by name, instead or in addition; ``model(**{"input.1": x})`` for names like that.

        Returns:
            New arrays by output name, in the model's order.

        Raises:
            InputError: The inputs do not fit the model; the message names the input, what it expects and was given.
            RunError: A kernel failed, memory ran out, or the model is closed.
        """
        inputs = tensors.collect_inputs(self.inputs, arrays, named)
        with self._lock:
            return self._run(inputs)

    def profile(self, /, *arrays: np.ndarray, **named: np.ndarray) -> list[KernelTime]:
        """Runs the model as a call does and returns what each kernel took, in order of execution."""
        inputs = tensors.collect_inputs(self.inputs, arrays, named)
        with self._lock:
            session = self._open_session()
            nanoseconds = [0] * self._functions.lepton_kernel_count(session)

            def add(_: int | None, index: int, elapsed: int) -> None:
                nanoseconds[index] += elapsed

            hook = KernelHook(add)
            self._library.check(self._functions.lepton_set_kernel_hook(session, hook, None))
            try:
                self._run(inputs)
            finally:
                self._library.check(self._functions.lepton_set_kernel_hook(session, KernelHook(), None))
            return [self._kernel_time(session, index, elapsed) for index, elapsed in enumerate(nanoseconds)]

    def close(self) -> None:
        """Ends the model's threads and frees its memory; further calls raise. Closing twice is allowed."""
        with self._lock:
            self._session = None
            self._finalizer()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_session(self) -> int:
        if self._session is None:
            raise RunError(f"{self._library.file_name}: the model is closed")
        return self._session

    def _run(self, inputs: list[np.ndarray]) -> dict[str, np.ndarray]:
        session = self._open_session()
        given = (CTensor * len(inputs))()
        for entry, array, tensor in zip(self.inputs, inputs, given, strict=True):
            tensors.describe(entry, array, tensor)
        results = (CTensor * len(self.outputs))()
        arguments = (session, given, len(given), results, len(results))
        self._library.check(self._functions.lepton_output_shapes(*arguments))
        outputs = [tensors.allocate(result) for result in results]
        self._library.check(self._functions.lepton_run(*arguments))
        return dict(zip((entry.name for entry in self.outputs), outputs, strict=True))

    def _kernel_time(self, session: int, index: int, nanoseconds: int) -> KernelTime:
        info = CKernelInfo()
        self._library.check(self._functions.lepton_kernel(session, index, ctypes.byref(info)))
        name, nodes = (text.decode("utf-8", errors="replace") for text in (info.name, info.nodes))
        return KernelTime(name, nodes, nanoseconds / 1e9)
