"""DecomposeBatchNorm: constant, computed and batch statistics as arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from pass_checks import FLOAT32_TOLERANCE, check_numbers, check_rewrite, check_unchanged, node_names, run_pass
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.core.contracts import bindings, operator_name
from lepton_compiler.passes.canonicalize.decompose_batch_norm import DecomposeBatchNorm

_RANDOM = np.random.default_rng(2)
GAMMA, BETA, MEAN, VARIANCE = (_RANDOM.uniform(0.5, 1.5, size=3).astype("float32") for _ in range(4))
EXACT_SCALE = GAMMA.astype("float64") / np.sqrt(VARIANCE.astype("float64") + 1e-5)
G, T, M, V = (relax.const(vector) for vector in (GAMMA, BETA, MEAN, VARIANCE))
SCALE = relax.const(EXACT_SCALE.astype("float32").reshape(1, 3, 1))
SHIFT = relax.const((BETA - MEAN * EXACT_SCALE).astype("float32").reshape(1, 3, 1))


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((2, 3, 5), "float32")):
        with R.dataflow():
            norm = R.nn.batch_norm(x, G, T, M, V, axis=1, epsilon=1e-5, training=False)
            bn = norm[0]
            R.output(bn)
        return bn


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((2, 3, 5), "float32")):
        with R.dataflow():
            scaled = R.multiply(x, SCALE)
            bn = R.add(scaled, SHIFT)
            R.output(bn)
        return bn


def test_constant_statistics_become_a_scale_and_a_shift() -> None:
    result = check_rewrite(DecomposeBatchNorm(), Before, Expected)
    assert node_names(result.module) == ["bn", "bn"]
    assert [rewrite.what for rewrite in result.rewrites] == ["written as a multiplication and an addition"]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_statistics_that_are_inputs(training: bool, affine: bool) -> None:
    before = _with_inputs(training, affine)
    result = run_pass(DecomposeBatchNorm(), before)
    assert "relax.nn.batch_norm" not in {operator_name(binding.value) for binding in bindings(result.module)}
    assert set(node_names(result.module)) == {"bn", "running_mean", "running_variance"} or not training
    check_numbers(before, result.module, tolerance=FLOAT32_TOLERANCE)


def _with_inputs(training: bool, affine: bool) -> tvm.IRModule:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 3, 4, 4), "float32"))
    mean = relax.Var("mean", relax.TensorType((3,), "float32"))
    with builder.function("main", [x, mean]):
        with builder.dataflow():
            norm = relax.op.nn.batch_norm(
                x, G, T, mean, V, axis=1, center=affine, scale=affine, momentum=0.25, training=training
            )
            call = builder.emit(norm, "norm")
            names = ("bn", "running_mean", "running_variance")
            items = [builder.emit(relax.TupleGetItem(call, i), name) for i, name in enumerate(names)]
            output = builder.emit_output(relax.Tuple(items))
        builder.emit_func_output(output)
    return builder.get()


def test_leaves_other_operators_alone() -> None:
    @I.ir_module
    class Relu:
        @R.function
        def main(x: R.Tensor((2, 3), "float32")):
            with R.dataflow():
                y = R.nn.relu(x)
                R.output(y)
            return y

    assert check_unchanged(DecomposeBatchNorm(), Relu).declines == ()
