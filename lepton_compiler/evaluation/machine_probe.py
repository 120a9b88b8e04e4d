"""What this machine reaches at the most: arithmetic by element type, and memory traffic, measured.

The microkernels are C, in ``csrc/``. Each is measured that the processor has the instructions for; what a machine
reaches is the best of them, over several short measurements, because others may be using it.
"""

from __future__ import annotations

import ctypes
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from lepton_compiler.build.toolchain import c_sources, cached_objects, run_zig
from lepton_compiler.core.errors import TargetError
from lepton_compiler.evaluation.machine import last_level_cache_bytes, memory_bytes
from lepton_compiler.targets.registry import UnknownTargetError, host_cpu_features, missing_features, native_target

Clock = Literal["wall", "cpu"]

_REPEATS = 16
_SECONDS = 0.005
"""Of one measurement: hundreds of times what reading the clock takes, and short enough that on a busy machine some pass
without another process having a turn."""

_CACHE_ARRAY_BYTES = 64 << 10
"""Three of these overflow every level 1 and fit into every level 2 cache of the targets' records."""
_ARRAYS = 3
_MEMORY_OF_CACHE = 4
"""STREAM's rule: arrays of four times the last cache together leave little of themselves in it."""
_LEAST_MEMORY_BYTES, _MOST_MEMORY_BYTES = 96 << 20, 1 << 30
_FLOATS_OF_A_STEP = 32


@dataclass(frozen=True)
class ArithmeticPeak:
    """The rate of one kind of instruction.

    Attributes:
        type: Element type of the factors, as NumPy names it.
        instruction: The instructions.
        operations_per_second: Of all threads together; a multiply-add is two.
    """

    type: str
    instruction: str
    operations_per_second: float


@dataclass(frozen=True)
class MemoryPeak:
    """The best rate of reading, and of reading and writing.

    Attributes:
        kernel: What was fastest.
        array_bytes: All arrays of all threads together.
        bytes_per_second: Of all threads together.
    """

    kernel: str
    array_bytes: int
    bytes_per_second: float


@dataclass(frozen=True)
class MachinePeaks:
    """What ``threads`` threads of this machine reach."""

    threads: int
    arithmetic: tuple[ArithmeticPeak, ...]
    memory: MemoryPeak
    cache: MemoryPeak

    def arithmetic_of(self, operand_type: str) -> ArithmeticPeak | None:
        """The best rate for elements of a type; None where the processor has no instruction that was measured."""
        # Products of unsigned and signed bytes are what the instructions compute.
        wanted = "int8" if operand_type == "uint8" else operand_type
        found = [peak for peak in self.arithmetic if peak.type == wanted]
        return max(found, key=lambda peak: peak.operations_per_second, default=None)

    def of_types(self, types: Iterable[str]) -> MachinePeaks:
        """The peaks of some element types alone; all of them where no rate of these types was measured."""
        found = {peak.type for peak in map(self.arithmetic_of, types) if peak is not None}
        arithmetic = tuple(peak for peak in self.arithmetic if peak.type in found)
        return replace(self, arithmetic=arithmetic or self.arithmetic)

    def best_arithmetic(self) -> tuple[ArithmeticPeak, ...]:
        """The best of each element type, in the order in which they were measured."""
        types = dict.fromkeys(peak.type for peak in self.arithmetic)
        return tuple(peak for peak in map(self.arithmetic_of, types) if peak is not None)


def best_peaks(first: MachinePeaks, second: MachinePeaks) -> MachinePeaks:
    """The better of two measurements, rate by rate: whoever else uses the machine can only take from it."""
    return MachinePeaks(
        first.threads,
        tuple(
            max(pair, key=lambda peak: peak.operations_per_second)
            for pair in zip(first.arithmetic, second.arithmetic, strict=True)
        ),
        max(first.memory, second.memory, key=lambda peak: peak.bytes_per_second),
        max(first.cache, second.cache, key=lambda peak: peak.bytes_per_second),
    )


class _ArithmeticKernel(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_char_p),
        ("instruction", ctypes.c_char_p),
        ("features", ctypes.c_char_p),
        ("operations", ctypes.c_double),
        ("run", ctypes.c_void_p),
    )


class _MemoryKernel(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("features", ctypes.c_char_p),
        ("streams", ctypes.c_double),
        ("run", ctypes.c_void_p),
    )


def measure_peaks(threads: int, clock: Clock = "wall", cpu_features: Collection[str] | None = None) -> MachinePeaks:
    """Measures this machine with that many threads, in about two seconds.

    Args:
        threads: Threads that work at the same time.
        clock: Time that passes, or the processor time of each thread: what threads reach that have a core each.
        cpu_features: Those of a target whose code is judged: other instructions don't count. None for all that the
            processor has.

    Raises:
        TargetError: This machine is of a family that nothing can be compiled for.
        UserError: The C compiler is missing.
    """
    probe = _Probe(_load_probe(), threads, clock, cpu_features)
    return MachinePeaks(threads, tuple(probe.arithmetic()), probe.memory(_memory_array_bytes(threads)), probe.cache())


def _memory_array_bytes(threads: int) -> int:
    """Size of each array of each thread."""
    wanted = max(_LEAST_MEMORY_BYTES, _MEMORY_OF_CACHE * (last_level_cache_bytes() or 0))
    most = min(_MOST_MEMORY_BYTES, (memory_bytes() or _MOST_MEMORY_BYTES * 4) // 4)
    step = _FLOATS_OF_A_STEP * np.dtype(np.float32).itemsize
    return max(min(wanted, most) // (threads * _ARRAYS * step), 1) * step


def _load_probe() -> ctypes.CDLL:
    try:
        target = native_target()
    except UnknownTargetError as error:
        raise TargetError(str(error)) from error
    objects = cached_objects("probe", c_sources("lepton_compiler.evaluation"), target.zig_triple, target.zig_cpu)
    with tempfile.TemporaryDirectory(prefix="lepton-probe-") as folder:
        run_zig(["-target", target.zig_triple, "-shared", "-o", "probe.so", *map(str, objects)], Path(folder))
        library = ctypes.CDLL(str(Path(folder) / "probe.so"))
    library.lepton_probe_arithmetic_at.restype = ctypes.POINTER(_ArithmeticKernel)
    library.lepton_probe_memory_at.restype = ctypes.POINTER(_MemoryKernel)
    library.lepton_probe_operation_rate.restype = ctypes.c_double
    library.lepton_probe_byte_rate.restype = ctypes.c_double
    return library


class _Probe:
    """The library with a number of threads; ctypes lets them run at the same time."""

    def __init__(
        self, library: ctypes.CDLL, threads: int, clock: Clock = "wall", cpu_features: Collection[str] | None = None
    ) -> None:
        self._library = library
        self._threads = threads
        self._features = host_cpu_features()
        if cpu_features is not None:
            self._features &= frozenset(cpu_features)
        self._timing = ctypes.c_double(_SECONDS), ctypes.c_int(clock == "cpu")

    def arithmetic(self) -> Iterator[ArithmeticPeak]:
        """The rate of every kernel that counts and that this processor can run."""
        for index, kernel in self._runnable(self._library.lepton_probe_arithmetic_at):
            arguments = (ctypes.c_int(index), *self._timing)
            rate = self._best(lambda given=arguments: self._library.lepton_probe_operation_rate(*given))
            yield ArithmeticPeak(kernel.type.decode(), kernel.instruction.decode(), rate)

    def memory(self, array_bytes: int) -> MemoryPeak:
        """The best rate on arrays of that size, three a thread."""
        count = array_bytes // np.dtype(np.float32).itemsize
        results = []
        for index, kernel in self._runnable(self._library.lepton_probe_memory_at):
            rate = self._best(lambda arrays, index=index: self._byte_rate(index, arrays, count), lambda: _arrays(count))
            results.append(MemoryPeak(kernel.name.decode(), array_bytes * _ARRAYS * self._threads, rate))
        return max(results, key=lambda peak: peak.bytes_per_second)

    def cache(self) -> MemoryPeak:
        """The best rate on arrays that stay in each core's own cache."""
        return self.memory(_CACHE_ARRAY_BYTES)

    def _runnable(self, kernel_at: Callable) -> Iterator[tuple[int, ctypes.Structure]]:
        """Index and description of the kernels whose features are there."""
        index = 0
        while kernel := kernel_at(ctypes.c_int(index)):
            if not missing_features(tuple(kernel.contents.features.decode().split()), self._features):
                yield index, kernel.contents
            index += 1

    def _byte_rate(self, index: int, arrays: list[np.ndarray], count: int) -> float:
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
        return self._library.lepton_probe_byte_rate(
            ctypes.c_int(index), *pointers, ctypes.c_size_t(count), *self._timing
        )

    def _best(self, measure: Callable[..., float], prepare: Callable[[], object] | None = None) -> float:
        """The best sum over all threads of what each measured at the same time."""
        barrier = threading.Barrier(self._threads)

        def work() -> list[float]:
            try:
                arguments = () if prepare is None else (prepare(),)
                rates = []
                for _ in range(_REPEATS):
                    barrier.wait()
                    rates.append(measure(*arguments))
                return rates
            except BaseException:
                # The others would wait for this thread.
                barrier.abort()
                raise

        with ThreadPoolExecutor(self._threads) as pool:
            futures = [pool.submit(work) for _ in range(self._threads)]
            return max(map(sum, zip(*(future.result() for future in futures), strict=True)))


def _arrays(count: int) -> list[np.ndarray]:
    """Three arrays on cache lines of their own, their pages in place."""
    arrays = []
    for _ in range(_ARRAYS):
        memory = np.ones(count + 16, np.float32)
        skipped = -memory.ctypes.data % 64 // memory.itemsize
        arrays.append(memory[skipped : skipped + count])
    return arrays
