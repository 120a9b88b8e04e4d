"""The whole model with its defaults and with tuned knobs, timed against each other.

Kernels that are faster alone may be slower beside each other, so a tuning session ends with this.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from lepton_compiler.core.options import CompileOptions
from lepton_compiler.driver import compile_model
from lepton_compiler.evaluation.input_values import fixed_shapes, random_values
from lepton_compiler.evaluation.interleaved_timing import Spread, time_interleaved
from lepton_compiler.runtime.model import load

_DEFAULT, _TUNED = "default", "tuned"


@dataclass(frozen=True)
class TunedModelTimes:
    """Both libraries on this machine.

    Attributes:
        threads: Threads of each.
        default_ms: Milliseconds of a call with defaults.
        tuned_ms: The same with tuned knobs.
        gain: Default's time over the tuned one's, round by round.
    """

    threads: int
    default_ms: Spread
    tuned_ms: Spread
    gain: Spread


def time_tuned_model(
    model: Path, options: CompileOptions, logs: tuple[Path, ...], threads: int, rounds: int, seed: int
) -> TunedModelTimes:
    """Compiles a model with and without tuned knobs and times both by turns.

    Args:
        model: The ONNX file.
        options: How it is compiled.
        logs: Tuning logs of the tuned one.
        threads: Threads of both.
        rounds: Samples of each.
        seed: Seed of the inputs.
    """
    with tempfile.TemporaryDirectory(prefix="lepton-tuned-") as folder:
        files = {name: Path(folder) / f"{name}.so" for name in (_DEFAULT, _TUNED)}
        compile_model(model, files[_DEFAULT], replace(options, tuning_logs=()))
        compile_model(model, files[_TUNED], replace(options, tuning_logs=logs))
        with load(files[_DEFAULT], threads=threads) as default, load(files[_TUNED], threads=threads) as tuned:
            feed = random_values(default.inputs, fixed_shapes(default.inputs, options.input_shapes), seed)
            times = time_interleaved(
                {_DEFAULT: lambda: default(**feed), _TUNED: lambda: tuned(**feed)}, rounds=rounds, warmup=3
            )
    return TunedModelTimes(threads, times.spread_ms(_DEFAULT), times.spread_ms(_TUNED), times.ratio(_DEFAULT, _TUNED))
