"""The stages in order: model file in, artifact out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lepton_compiler.build.artifact import build_artifact, check_output
from lepton_compiler.build.kernel_work import count_work
from lepton_compiler.core.errors import OutputError, TargetError
from lepton_compiler.core.instruments import Instrument
from lepton_compiler.core.manifest import Manifest
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.core.pass_manager import run_stages
from lepton_compiler.core.program import Program, Stage
from lepton_compiler.frontend.importer import import_model
from lepton_compiler.pipeline import build_pipeline
from lepton_compiler.targets.registry import UnknownTargetError, get_target
from lepton_compiler.targets.spec import TargetSpec


@dataclass(frozen=True)
class CompileReport:
    """What a compilation made.

    Attributes:
        output: The library.
        manifest: What it says of itself.
        artifact_bytes: Size of the library, without a weights file beside it.
        seconds: Time of each step.
    """

    output: Path
    manifest: Manifest
    artifact_bytes: int
    seconds: dict[str, float]


class _StepClock:
    """Tells a listener which step begins, and keeps how long each took."""

    def __init__(self, on_step: Callable[[str], None] | None) -> None:
        self.seconds: dict[str, float] = {}
        self._on_step = on_step
        self._step: str | None = None
        self._started = 0.0

    def begin(self, step: str) -> None:
        """Ends the step before and begins ``step``."""
        self.end()
        self._step, self._started = step, time.perf_counter()
        if self._on_step is not None:
            self._on_step(step)

    def end(self) -> None:
        """Ends the current step."""
        if self._step is not None:
            self.seconds[self._step] = time.perf_counter() - self._started
        self._step = None


def resolve_target(name: str) -> TargetSpec:
    """Finds the target that the user named.

    Raises:
        TargetError: There is none of that name.
    """
    try:
        return get_target(name)
    except UnknownTargetError as error:
        raise TargetError(str(error)) from error


def compile_model(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: CompileOptions | None = None,
    *,
    force: bool = False,
    instruments: Sequence[Instrument] = (),
    on_step: Callable[[str], None] | None = None,
) -> CompileReport:
    """Compiles an ONNX file to a shared library.

    Args:
        model: The ONNX file.
        output: Where the library goes.
        options: What the user asked for; by default the best code for this machine.
        force: Whether an existing output may be replaced.
        instruments: Watchers of the passes.
        on_step: Told the name of each step as it begins: import, optimize, schedule, generate, link.

    Raises:
        LeptonError: The model, an option or the output is not usable; nothing is written then.
    """
    model, output = Path(model), Path(output)
    options = options or CompileOptions()
    clock = _StepClock(on_step)
    if output.exists() and model.exists() and output.samefile(model):
        raise OutputError(f"{output} is the model itself; name another file for the library")
    check_output(output, force)
    target = resolve_target(options.target)
    plans = build_pipeline(options)
    clock.begin("import")
    program = import_model(model, options, target)
    clock.begin("optimize")
    program = run_stages(program, [plan for plan in plans if plan.stage < Stage.SCHEDULED], instruments)
    # Before scheduling, which pads loops to tiles and computes some values twice.
    work = count_work(program.module)
    clock.begin("schedule")
    program = run_stages(program, [plan for plan in plans if plan.stage >= Stage.SCHEDULED], instruments)
    manifest = build_artifact(program, output, options.embed_weights_bytes, clock.begin, work, options.in_place)
    clock.end()
    return CompileReport(output, manifest, output.stat().st_size, clock.seconds)


def optimize_model(model: Path, options: CompileOptions, instruments: Sequence[Instrument] = ()) -> Program:
    """Imports a model and takes it through every pass, without building an artifact."""
    target = resolve_target(options.target)
    plans = build_pipeline(options)
    return run_stages(import_model(model, options, target), plans, instruments)
