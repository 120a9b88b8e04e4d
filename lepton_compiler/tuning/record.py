"""TuningRecord: one trial of one kernel, with everything that says where and how it was measured.

Nothing here imports TVM: logs are read, merged and shown on machines that only look at them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from lepton_compiler.targets.spec import TargetSpec

FORMAT = (1, 0)
"""Major and minor version of a record's JSON. A newer minor one adds fields, a newer major one can't be read."""

KnobValue = int | float | str | bool | None
"""What a knob can be in a record."""

MAX_REASON = 2000
"""Characters of a reason; what a compiler says can be longer."""


class Status(Enum):
    """How a trial ended; the value is what stands in the log."""

    OK = "ok"
    WRONG_RESULT = "wrong_result"
    CRASH = "crash"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    BUILD_FAILURE = "build_failure"
    SLOWER_IN_MODEL = "slower_in_model"
    INEXACT_IN_MODEL = "inexact_in_model"


REFUTED = frozenset({Status.WRONG_RESULT, Status.SLOWER_IN_MODEL, Status.INEXACT_IN_MODEL})
"""Endings that count against a candidate even where other trials of it were right and fast. The last counts against
every candidate of its kernel: what costs a model its accuracy is the algorithm, whatever its knobs."""


@dataclass(frozen=True, slots=True)
class Times:
    """What was measured, in seconds of one call of the kernel.

    Attributes:
        median_s: Median of the samples.
        spread_s: Half the distance of their quartiles.
        samples: How many there are.
    """

    median_s: float
    spread_s: float
    samples: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended: with times, or with the reason why it has none. ``ok`` and ``failed`` make one.

    Attributes:
        status: How it ended.
        times: What was measured; None unless the trial is ok.
        reason: Why there are no times, in one line; None where the trial is ok.
        extra: Fields of newer minor formats, as for every other part of a record.
    """

    status: Status
    times: Times | None
    reason: str | None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def ok(cls, median_s: float, spread_s: float, samples: int) -> Outcome:
        """The kernel was right, and this fast."""
        return cls(Status.OK, Times(median_s, spread_s, samples), None)

    @classmethod
    def failed(cls, status: Status, reason: str) -> Outcome:
        """The kernel was wrong or never ran; the reason is brought to one printable line."""
        line = " ".join(reason.split())[:MAX_REASON]
        return cls(status, None, "".join(char if char.isprintable() else "?" for char in line) or status.value)


@dataclass(frozen=True, slots=True)
class TunedTarget:
    """The target that the kernel was compiled for. Records count for exactly this one.

    Attributes:
        name: As ``--target`` takes it.
        cpu_features: Features that code for it may use, sorted.
        extra: Fields of newer minor formats.
    """

    name: str
    cpu_features: tuple[str, ...]
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, spec: TargetSpec) -> TunedTarget:
        """The target as logs name it."""
        return cls(spec.name, tuple(sorted(spec.cpu_features)))


@dataclass(frozen=True, slots=True)
class Device:
    """What the kernel ran on.

    Attributes:
        name: What its owner calls it, such as a board's host name.
        processor: Model name of the processor.
        cores: Processors that the trial could use.
        extra: Fields of newer minor formats.
    """

    name: str
    processor: str
    cores: int
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Versions:
    """What compiled the kernel: this project, TVM, and the major version of LLVM."""

    lepton: str
    tvm: str
    llvm: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def current(cls) -> Versions:
        """Those of this installation. Imports TVM, which alone knows its LLVM."""
        import importlib.metadata

        from tvm.target.codegen import llvm_version_major

        return cls(
            importlib.metadata.version("lepton-compiler"),
            importlib.metadata.version("apache-tvm"),
            str(llvm_version_major()),
        )


@dataclass(frozen=True, slots=True)
class TuningRecord:
    """One trial.

    Attributes:
        workload: Key of the unscheduled kernel, from ``workload_key``.
        anchor: The schedule that the knobs belong to, such as ``"packed_convolution"``.
        knobs: Knob values by name, from ``knob_values.to_values``.
        outcome: How it ended.
        target: What it was compiled for.
        device: What it ran on.
        versions: What compiled it.
        seed: Seed of the inputs.
        time: When it ended, in UTC: ``"2026-01-31T12:00:00Z"``.
        format: Version of the format that it was written in.
        extra: Fields of newer minor formats.
    """

    workload: str
    anchor: str
    knobs: Mapping[str, KnobValue]
    outcome: Outcome
    target: TunedTarget
    device: Device
    versions: Versions
    seed: int
    time: str
    format: tuple[int, int] = FORMAT
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def median_s(self) -> float | None:
        """Median time in seconds; None where the trial was not ok."""
        return None if self.outcome.times is None else self.outcome.times.median_s


def time_now() -> str:
    """This moment as records have it."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
