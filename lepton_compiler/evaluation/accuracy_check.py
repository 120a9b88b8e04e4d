"""The whole model that tuning logs give, against the same model with direct float32 algorithms, on sample inputs.

What is too inexact is taken back; see ``tuning/accuracy_gate.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lepton_compiler.core.options import CompileOptions
from lepton_compiler.evaluation.comparison import OutputComparison, compare_outputs
from lepton_compiler.evaluation.input_values import numpy_dtype
from lepton_compiler.evaluation.precision_errors import reference_outputs
from lepton_compiler.evaluation.tolerances import Tolerance
from lepton_compiler.tuning.accuracy_gate import (
    Choice,
    GateReport,
    OutputError,
    Refused,
    hold_to_error,
    inexact_choices,
    with_refusals,
    write_refusals,
)
from lepton_compiler.tuning.lowered_model import lower_model
from lepton_compiler.tuning.tuner import Bench

Feed = Mapping[str, np.ndarray]
"""Tensors by name."""

_ANY_ERROR = Tolerance("any", math.inf, None, 1.0, "to measure errors, and not to judge them")


def hold_model_to_error(
    model: Path,
    options: CompileOptions,
    logs: Sequence[Path],
    folder: Path,
    bench: Bench,
    feed: Feed,
    max_error: float,
    on_step: Callable[[str], None],
) -> GateReport | None:
    """Measures a model's error, and takes choices that change numbers back until it is small enough.

    Args:
        model: The ONNX file.
        options: How it is compiled.
        logs: The tuning logs.
        folder: Where refusals are written: in ``logs``, or one of them.
        bench: For the records.
        feed: Sample inputs.
        max_error: Largest error of an output, as a share of its range.
        on_step: Told the name of each step as it begins.

    Returns:
        None where no layer takes an algorithm that changes numbers.

    Raises:
        LeptonError: The model can't be compiled, or can't run with these inputs.
        TuningLogError: A record could not be written.
    """
    on_step("check accuracy")

    def choices_without(refused: Refused) -> list[Choice]:
        return with_refusals(bench, logs, refused, lambda given: inexact_choices(lower_model(model, options, given)))

    if not choices_without(()):
        return None
    exact = replace(options, winograd=False, precision="fp32", keep_fp32=(), tuning_logs=())
    expected = reference_outputs(model, exact, feed)

    def error_without(refused: Refused) -> OutputError:
        on_step(f"check accuracy, {len(refused)} algorithms taken back" if refused else "check accuracy")
        actual = with_refusals(
            bench,
            logs,
            refused,
            lambda given: reference_outputs(model, replace(options, tuning_logs=tuple(given)), feed),
        )
        return worst_output(actual, expected)

    report = hold_to_error(max_error, error_without, choices_without)
    write_refusals(bench, report.refused, refusal_text(report, model.stem), folder)
    return report


def refusal_text(report: GateReport, model: str) -> str:
    """Why choices were taken back, in one line."""
    before = report.before
    return f"output {before.output} of {model} was off by {before.share:.1e} of its range, {report.max_error:g} allowed"


def worst_output(actual: Feed, expected: Feed) -> OutputError:
    """The output with the largest error as a share of its range; of integers, with most elements that differ."""
    compared = compare_outputs(actual, expected, _ANY_ERROR)
    return max((OutputError(entry.name, _share(entry)) for entry in compared), key=lambda error: error.share)


def _share(entry: OutputComparison) -> float:
    if not entry.agrees:
        # Whatever the error, numbers must meet numbers, in the same shape.
        return math.inf
    if numpy_dtype(entry.dtype).kind in "biu":
        return entry.unequal / max(1, math.prod(entry.shape))
    return entry.max_abs / entry.reference_range
