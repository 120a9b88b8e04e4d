"""What a lower precision costs: a compiled model beside the same model compiled in float32, on the same inputs."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lepton_compiler.core.options import CompileOptions
from lepton_compiler.driver import compile_model
from lepton_compiler.evaluation.comparison import OutputComparison, compare_outputs
from lepton_compiler.evaluation.tolerances import tolerance_of
from lepton_compiler.runtime.model import Model, load


def measure_precision_errors(
    model: Path, lower: Model, options: CompileOptions, feed: Mapping[str, np.ndarray]
) -> list[OutputComparison]:
    """Compiles ``model`` in float32, runs both, and compares output by output.

    Args:
        model: The ONNX file.
        lower: What was compiled from it in a lower precision, loaded.
        options: The options that it was compiled with.
        feed: Inputs by name.

    Raises:
        LeptonError: One of the two can't run with these inputs.
    """
    actual = lower(**feed)
    expected = reference_outputs(model, dataclasses.replace(options, precision="fp32", keep_fp32=()), feed)
    return compare_outputs(actual, expected, tolerance_of(options.precision))


def reference_outputs(model: Path, options: CompileOptions, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a model compiled with ``options`` computes from ``feed``; the library is gone afterwards.

    Raises:
        LeptonError: It can't be compiled, or can't run with these inputs.
    """
    with tempfile.TemporaryDirectory(prefix="lepton-outputs-") as folder:
        library = Path(folder) / f"{model.stem}.so"
        compile_model(model, library, options)
        with load(library) as reference:
            return {name: value.copy() for name, value in reference(**feed).items()}
