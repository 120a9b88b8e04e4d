"""What every pass must hold: the expected program, the input left alone, the same numbers, and the names kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import tvm
from tvm import relax

from lepton_compiler.core.contracts import bindings
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.passes.canonicalize.constant_evaluation import host_target
from lepton_compiler.targets.registry import get_target

FLOAT32_TOLERANCE = 2e-6
"""Largest error, as a share of the output's range, that reordering a few float32 operations may cause."""


def run_pass(pass_: Pass, module: tvm.IRModule, *, target: str = "x86-64-v2") -> PassResult:
    """Runs a pass on a clone, as the manager does, and checks the result's form and that ``module`` stays as it is."""
    text = module.script(show_meta=True)
    result = pass_.run(module.clone(), get_target(target))
    assert module.script(show_meta=True) == text, "the pass changed its input"
    assert relax.analysis.check_well_formed(result.module)
    return result


def check_rewrite(
    pass_: Pass,
    before: tvm.IRModule,
    expected: tvm.IRModule,
    *,
    tolerance: float = FLOAT32_TOLERANCE,
    dimensions: dict[str, int] | None = None,
    target: str = "x86-64-v2",
) -> PassResult:
    """Checks that ``pass_`` makes ``expected`` of ``before``, and that both compute the same.

    Args:
        pass_: The pass.
        before: Its input.
        expected: Its output, names aside.
        tolerance: Largest error allowed, as a share of each output's range; 0 asks for equal bits.
        dimensions: Sizes for symbolic dimensions.
        target: What it is compiled for, where that changes the rewrite.
    """
    result = run_pass(pass_, before, target=target)
    tvm.ir.assert_structural_equal(result.module, expected, map_free_vars=True)
    check_numbers(before, result.module, tolerance=tolerance, dimensions=dimensions)
    return result


def check_unchanged(pass_: Pass, module: tvm.IRModule, *, target: str = "x86-64-v2") -> PassResult:
    """Checks that ``pass_`` leaves ``module`` as it is, and returns its reasons."""
    result = run_pass(pass_, module, target=target)
    tvm.ir.assert_structural_equal(result.module, module, map_free_vars=True)
    assert result.rewrites == ()
    return result


def check_numbers(
    before: tvm.IRModule, after: tvm.IRModule, *, tolerance: float, dimensions: dict[str, int] | None = None
) -> None:
    """Checks that two modules give the same outputs for the same random inputs."""
    inputs = random_inputs(before, dimensions or {})
    for reference, output in zip(evaluate(before, inputs), evaluate(after, inputs), strict=True):
        assert output.dtype == reference.dtype
        assert output.shape == reference.shape
        if tolerance == 0:
            assert output.tobytes() == reference.tobytes()
        else:
            error = np.abs(output.astype(np.float64) - reference.astype(np.float64)).max()
            assert error <= tolerance * max(np.ptp(reference), 1e-30)


def random_inputs(module: tvm.IRModule, dimensions: dict[str, int]) -> list[np.ndarray]:
    """Seeded inputs for ``main``: floats around 0, small integers."""
    generator = np.random.default_rng(0)
    inputs = []
    for parameter in module["main"].params:
        shape = [dimensions[d.name] if isinstance(d, tvm.ir.Var) else int(d) for d in parameter.ty.shape.values]
        dtype = str(parameter.ty.dtype)
        floating = dtype.startswith("float")
        values = generator.normal(size=shape) if floating else generator.integers(0, 2, size=shape)
        inputs.append(values.astype(dtype))
    return inputs


def evaluate(module: tvm.IRModule, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Runs ``main`` as plain TVM compiles it."""
    try:
        machine = relax.VirtualMachine(relax.build(module, target=host_target()), tvm.cpu())
    except AssertionError as error:
        if shutil.which("gcc") or shutil.which("g++") or "Target triple" not in str(error):
            raise
        pytest.skip("TVM's virtual machine needs a C compiler to load a program without kernels")
    result = machine["main"](*map(tvm.runtime.tensor, inputs))
    return [result.numpy()] if isinstance(result, tvm.runtime.Tensor) else [part.numpy() for part in result]


def seeded_weight(*shape: int, seed: int = 0) -> relax.Expr:
    """A constant of small random numbers."""
    return relax.const(np.random.default_rng(seed).standard_normal(shape).astype(np.float32) / 4)


def build_module(build: Callable[..., relax.Expr], *shapes: Sequence[int | tvm.tirx.Var]) -> tvm.IRModule:
    """A module whose output is what ``build`` makes of an emit function and inputs of these shapes."""
    builder = relax.BlockBuilder()
    inputs = [relax.Var(f"x{i}", relax.TensorType(shape, "float32")) for i, shape in enumerate(shapes)]
    with builder.function("main", inputs, attrs={"input_names": ["x"], "output_names": ["y"]}):
        with builder.dataflow():
            output = builder.emit_output(build(builder.emit, *inputs))
        builder.emit_func_output(output)
    return builder.get()


def node_names(module: tvm.IRModule) -> list[str]:
    """Names of the bindings of ``main``, in order."""
    return [binding.var.name for binding in bindings(module)]


def reasons(result: PassResult) -> dict[str, str]:
    """Why the pass declined, by node."""
    return {decline.node: decline.reason for decline in result.declines}
