"""Trial: one kernel library with its arguments, limits and what to measure; and what came of it."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from lepton_compiler.devices.arrays import ArraySource, ArrayType, StoredArray
from lepton_compiler.devices.protocol import (
    KEEP_OUTPUTS,
    MAX_SAMPLES,
    Outcome,
    PayloadReader,
    ProtocolError,
    Role,
)


@dataclass(frozen=True)
class KernelLibrary:
    """A shared library with one kernel, for the agent to load.

    Attributes:
        code: The ELF file.
        parameters: What the kernel is called with, in order: arrays, and None for an integer.
        workspaces: Arrays that it wants behind those, to write to as it likes.
        thread_workspace_bytes: What one thread allocates inside of the kernel at once, at the most.
    """

    code: bytes = field(repr=False)
    parameters: tuple[ArrayType | None, ...]
    workspaces: tuple[ArrayType, ...]
    thread_workspace_bytes: int

    @cached_property
    def key(self) -> bytes:
        """What the device finds it by."""
        return hashlib.sha256(self.code).digest()


@dataclass(frozen=True)
class Input:
    """An argument that the kernel reads. It may write to it too: every trial has a copy of its own."""

    source: ArraySource


@dataclass(frozen=True)
class Output:
    """An argument that the kernel writes, compared with the reference where there is one.

    Before the kernel runs it holds NaN, or -1 in integers.
    """

    type: ArrayType
    reference: ArraySource | None = None


@dataclass(frozen=True)
class Scalar:
    """An integer argument."""

    value: int


Argument = Input | Output | Scalar


@dataclass(frozen=True)
class Timing:
    """How a trial is timed.

    Attributes:
        samples: How many are taken, at the most.
        min_repeat_ms: Calls are repeated within a sample until it takes this long.
        budget_ms: After this time no further sample begins; there is always one.
        flush_bytes: Memory that is written before every call, to empty the caches; each call is then a sample. 0
            leaves the caches warm.
    """

    samples: int = 10
    min_repeat_ms: float = 5.0
    budget_ms: float = 1000.0
    flush_bytes: int = 0


@dataclass(frozen=True)
class Limits:
    """What a candidate may use before it is ended.

    Attributes:
        seconds: From its start to its end, timing included.
        memory_bytes: Outputs, workspaces and all that it allocates.
    """

    seconds: float = 10.0
    memory_bytes: int = 1 << 30


@dataclass(frozen=True)
class Trial:
    """One run of a kernel.

    Attributes:
        library: The kernel.
        arguments: As many as the library has parameters.
        tolerance: Largest absolute error of an output over the range of its reference.
        timing: None runs the kernel once.
        threads: How many run it.
        limits: Where it is ended.
        keep_outputs: Leaves the outputs on the device, as references of later trials.
    """

    library: KernelLibrary
    arguments: Sequence[Argument]
    tolerance: float = 0.0
    timing: Timing | None = None
    threads: int = 1
    limits: Limits = Limits()
    keep_outputs: bool = False

    @property
    def sources(self) -> list[ArraySource]:
        """Every array that the device must have."""
        found: list[ArraySource] = []
        for argument in self.arguments:
            if isinstance(argument, Input):
                found.append(argument.source)
            elif isinstance(argument, Output) and argument.reference is not None:
                found.append(argument.reference)
        return found

    @property
    def outputs(self) -> list[Output]:
        """The outputs in order."""
        return [argument for argument in self.arguments if isinstance(argument, Output)]

    def encode(self) -> bytes:
        """The payload of a request to run it."""
        timing = self.timing or Timing(samples=0)
        arguments = [_encode(argument) for argument in self.arguments]
        arguments += [bytes([Role.WORKSPACE]) + type_.encode() for type_ in self.library.workspaces]
        head = struct.pack(
            "<IIQQQdIQQQI",
            self.threads,
            KEEP_OUTPUTS if self.keep_outputs else 0,
            self.library.thread_workspace_bytes,
            self.limits.memory_bytes,
            round(self.limits.seconds * 1e9),
            self.tolerance,
            min(timing.samples, MAX_SAMPLES),
            round(timing.min_repeat_ms * 1e6),
            round(timing.budget_ms * 1e6),
            timing.flush_bytes,
            len(arguments),
        )
        return b"".join([self.library.key, head, *arguments])


def _encode(argument: Argument) -> bytes:
    if isinstance(argument, Scalar):
        return bytes([Role.SCALAR]) + struct.pack("<q", argument.value)
    if isinstance(argument, Input):
        return bytes([Role.INPUT]) + argument.source.key
    reference = b"\0" if argument.reference is None else b"\1" + argument.reference.key
    return bytes([Role.OUTPUT]) + argument.type.encode() + reference


@dataclass(frozen=True)
class Comparison:
    """An array beside its reference.

    Attributes:
        agrees: Nothing is mismatched, and the largest error is within the tolerance.
        max_error: Largest absolute error of elements that are finite in both.
        range: Largest minus smallest finite element of the reference.
        mismatched: Elements that are NaN, or one of the infinities, on one side alone.
        worst: Flat index of the first mismatch, else of the largest error.
    """

    agrees: bool
    max_error: float
    range: float
    mismatched: int
    worst: int

    @classmethod
    def decode(cls, reader: PayloadReader) -> Comparison:
        """Reads one from a reply."""
        return cls(bool(reader.u8()), reader.f64(), reader.f64(), reader.u64(), reader.u64())


@dataclass(frozen=True, eq=False)
class Samples:
    """Raw times in nanoseconds, one a sample, of ``calls`` calls each.

    Attributes:
        calls: Calls of the kernel in each sample.
        wall: Time that passed.
        cpu: Processor time of the calling thread.
        control_wall: Time that passed in the control, which always does the same work, just before.
        control_cpu: Its processor time.
    """

    calls: int
    wall: np.ndarray
    cpu: np.ndarray
    control_wall: np.ndarray
    control_cpu: np.ndarray


@dataclass(frozen=True)
class TrialResult:
    """What came of a trial.

    Attributes:
        outcome: How it ended.
        signal: The signal that ended the candidate, 0 for none.
        message: Why it failed; empty where it did not.
        peak_bytes: Memory that the candidate's process held at the most.
        comparisons: For each output, where it was compared.
        kept: For each output, where it was kept.
        samples: Where it was timed and right.
    """

    outcome: Outcome
    signal: int
    message: str
    peak_bytes: int
    comparisons: tuple[Comparison | None, ...]
    kept: tuple[StoredArray | None, ...]
    samples: Samples | None

    @property
    def is_right(self) -> bool:
        """Whether it ran to its end, and every output with a reference agrees."""
        return self.outcome is Outcome.OK

    @classmethod
    def decode(cls, data: bytes, outputs: Sequence[Output]) -> TrialResult:
        """Reads a reply.

        Raises:
            ProtocolError: It is no result of a trial with these outputs.
        """
        reader = PayloadReader(data)
        try:
            outcome = Outcome(reader.u32())
        except ValueError as error:
            raise ProtocolError(f"the device sent an outcome that there is none of: {error}") from error
        signal, message, peak_bytes = reader.u32(), reader.text(), reader.u64()
        comparisons: list[Comparison | None] = []
        kept: list[StoredArray | None] = []
        for output in outputs:
            comparisons.append(Comparison.decode(reader) if reader.u8() else None)
            kept.append(StoredArray(output.type, reader.take(32)) if reader.u8() else None)
        samples = _decode_samples(reader)
        reader.end()
        return cls(outcome, signal, message, peak_bytes, tuple(comparisons), tuple(kept), samples)


def _decode_samples(reader: PayloadReader) -> Samples | None:
    calls, count = reader.u32(), reader.u32()
    table = np.frombuffer(reader.take(count * 32), "<u8").reshape(count, 4).astype(np.int64)
    return Samples(calls, *table.T) if count else None
