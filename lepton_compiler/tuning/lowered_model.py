"""A model with its kernels unscheduled, and the algorithms that its layers can take and do take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lepton_compiler.core.options import CompileOptions
from lepton_compiler.core.pass_manager import run_stages
from lepton_compiler.core.program import Program, Stage
from lepton_compiler.driver import resolve_target
from lepton_compiler.frontend.importer import import_model
from lepton_compiler.pipeline import LOWERING, build_pipeline
from lepton_compiler.tuning.algorithm_layers import Alternative, Layer, MeasuredAlgorithms, called_kernels
from lepton_compiler.tuning.database import Database
from lepton_compiler.tuning.log_reader import LogContents
from lepton_compiler.tuning.tuned_knobs import TunedKnobs


@dataclass(frozen=True)
class LoweredModel:
    """A program before its kernels are scheduled.

    Attributes:
        program: The program.
        layers: Calls that several algorithms can compute.
    """

    program: Program
    layers: tuple[Layer, ...]

    def taken(self) -> Iterator[tuple[Layer, Alternative]]:
        """The algorithm that each layer takes."""
        calls = called_kernels(self.program.module)
        for layer in self.layers:
            key, _ = calls.get(layer.name, (None, None))
            yield from ((layer, made) for made in layer.alternatives if made.workload == key)

    def inexact(self) -> Iterator[tuple[Layer, Alternative]]:
        """The layers whose algorithm changes numbers: all but the first that they could take."""
        return ((layer, made) for layer, made in self.taken() if made != layer.alternatives[0])


def lower_model(
    model: Path, options: CompileOptions, logs: Sequence[Path] = (), on_step: Callable[[str], None] | None = None
) -> LoweredModel:
    """Imports a model and takes it through every pass before scheduling.

    Args:
        model: The ONNX file.
        options: How it is compiled; its own tuning logs do not count.
        logs: Tuning logs whose times choose among algorithms; without any the cost model does.
        on_step: Told the name of each step as it begins.

    Raises:
        LeptonError: The model, an option or a log is not usable.
    """
    tell = on_step or (lambda step: None)
    database = TunedKnobs.load(logs).database if logs else Database(LogContents((), ()))
    measured = MeasuredAlgorithms(database, LOWERING, without_records=True)
    plans = build_pipeline(replace(options, tuning_logs=()), measured)
    tell("import")
    program = import_model(model, options, resolve_target(options.target))
    tell("optimize")
    program = run_stages(program, [plan for plan in plans if plan.stage < Stage.SCHEDULED])
    return LoweredModel(program, measured.layers)
