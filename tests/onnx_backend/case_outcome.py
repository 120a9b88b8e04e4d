"""Takes one case through the whole compiler: model file, shared library, loaded library, its outputs compared."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from backend_cases import BackendCase, Values
from compiled_share import folded_outputs
from failure_reasons import FOLDED, WRONG_RESULT, border_type_reason, reason_of

from lepton_compiler.build.artifact import build_artifact
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.core.pass_manager import run_stages
from lepton_compiler.core.program import Program
from lepton_compiler.driver import resolve_target
from lepton_compiler.frontend.importer import import_model
from lepton_compiler.pipeline import build_pipeline
from lepton_compiler.runtime.model import Model, load

PASS = "pass"
_THREADS = 2


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        result: ``pass``, or why not; this is what the expectations hold.
        detail: What was raised, for a reader.
    """

    result: str
    detail: str = ""


def outcome_of(case: BackendCase) -> Outcome:
    """Runs a case."""
    model = case.model()
    with tempfile.TemporaryDirectory(prefix="lepton-onnx-") as folder:
        try:
            path = case.model_path or _write(model, Path(folder) / "model.onnx")
            program = _compile(path)
            folded = folded_outputs(program.module)
            if folded:
                return Outcome(FOLDED, f"no kernel computes {', '.join(folded)}")
            library = Path(folder) / "model.so"
            build_artifact(program, library, CompileOptions().embed_weights_bytes)
            with load(library, threads=_THREADS) as compiled:
                for inputs, expected in case.data_sets(model):
                    case.check(_run(compiled, model, inputs), expected)
        except AssertionError as error:
            return Outcome(WRONG_RESULT, str(error))
        except Exception as error:  # noqa: BLE001 - whatever was raised is this case's outcome
            reason = border_type_reason(model) or reason_of(error)
            return Outcome(reason, f"{type(error).__name__}: {error}")
    return Outcome(PASS)


def _write(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def _compile(path: Path) -> Program:
    options = CompileOptions()
    target = resolve_target(options.target)
    return run_stages(import_model(path, options, target), build_pipeline(options))


def _run(compiled: Model, model: onnx.ModelProto, values: Values) -> Values:
    wanted = {entry.name for entry in compiled.inputs}
    given = zip((info.name for info in model.graph.input), values, strict=False)
    inputs = {name: np.asarray(value) for name, value in given if name in wanted}
    return list(compiled(**inputs).values())
