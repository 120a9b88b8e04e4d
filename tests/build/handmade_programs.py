"""Small programs written by hand in Relax, taken through the passes and built, without an ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import tvm
from tvm import relax, tirx

from lepton_compiler.build.artifact import build_artifact
from lepton_compiler.core.manifest import Manifest
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.core.pass_manager import StagePlan, run_stages
from lepton_compiler.core.program import ModelSource, Program, Stage
from lepton_compiler.passes.lowering.legalize_operators import LegalizeOperators
from lepton_compiler.passes.lowering.schedule_functions import ScheduleFunctions
from lepton_compiler.pipeline import build_pipeline
from lepton_compiler.targets.registry import get_target
from lepton_compiler.targets.spec import TargetSpec

EMBED_ALL = 1 << 30
"""``embed_weights_bytes`` of builds that keep their weights inside."""

Body = Callable[..., relax.Expr]


def symbol(name: str) -> tirx.Var:
    """A symbolic dimension."""
    return tirx.Var(name, "int64")


def tensor(name: str, shape: Sequence[int | tirx.Expr], dtype: str = "float32") -> relax.Var:
    """A model input."""
    return relax.Var(name, relax.TensorType(tuple(shape), dtype))


def imported_module(inputs: Sequence[relax.Var], body: Body, outputs: Sequence[str] = ("y",)) -> tvm.IRModule:
    """A module as the frontend leaves it.

    Args:
        inputs: The model's inputs.
        body: Given the block builder and the inputs, emits the nodes and returns the result or a tuple of results.
        outputs: Names of the results.
    """
    builder = relax.BlockBuilder()
    with builder.function("main", list(inputs)):
        with builder.dataflow():
            result = builder.emit_output(body(builder, *inputs))
        builder.emit_func_output(result)
    module = builder.get()
    main = (
        module["main"].with_attr("input_names", [var.name for var in inputs]).with_attr("output_names", list(outputs))
    )
    module.update_func(module.get_global_var("main"), main)
    return module


def legalized_module(inputs: Sequence[relax.Var], body: Body, outputs: Sequence[str] = ("y",)) -> tvm.IRModule:
    """A module of kernel calls, unfused and unscheduled: enough to be planned."""
    return LegalizeOperators().run(imported_module(inputs, body, outputs), get_target("x86-64-v2")).module


def scheduled_program(module: tvm.IRModule, target: TargetSpec | None = None, name: str = "handmade.onnx") -> Program:
    """Takes an imported module through every pass."""
    target = target or get_target("native")
    program = Program(module, target, ModelSource(name, "0" * 64, 17))
    return run_stages(program, build_pipeline(CompileOptions(target=target.name)))


def unfused_program(module: tvm.IRModule) -> Program:
    """A program whose operators became kernels and were scheduled, each on its own."""
    target = get_target("native")
    passes = (StagePlan(Stage.LOWERED, (LegalizeOperators(),)), StagePlan(Stage.SCHEDULED, (ScheduleFunctions(),)))
    return run_stages(Program(module, target, ModelSource("handmade.onnx", "0" * 64, 17)), passes)


def build(module: tvm.IRModule, output: Path, embed_weights_bytes: int = EMBED_ALL) -> Manifest:
    """Builds an imported module for this machine."""
    return build_artifact(scheduled_program(module), output, embed_weights_bytes)
