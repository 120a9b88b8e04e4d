"""EliminateTransposePairs: pairs side by side, around elementwise operators, and what blocks them."""

from __future__ import annotations

import numpy as np
from pass_checks import check_rewrite, check_unchanged, node_names, reasons
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.core.program import Rewrite
from lepton_compiler.passes.canonicalize.eliminate_transpose_pairs import EliminateTransposePairs

CHANNEL_BIAS = np.arange(4, dtype="float32")
LAST = relax.const(CHANNEL_BIAS)
SECOND = relax.const(CHANNEL_BIAS.reshape(1, 4, 1, 1))


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((1, 4, 5, 6), "float32"), z: R.Tensor((1, 4, 5, 6), "float32")):
        with R.dataflow():
            to_last = R.permute_dims(x, axes=[0, 2, 3, 1])
            biased = R.add(to_last, LAST)
            gate = R.sigmoid(biased)
            swish = R.multiply(biased, gate)
            other = R.permute_dims(z, axes=[0, 2, 3, 1])
            total = R.add(swish, other)
            halved = R.multiply(total, R.const(0.5))
            back = R.permute_dims(halved, axes=[0, 3, 1, 2])
            y = R.exp(back)
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((1, 4, 5, 6), "float32"), z: R.Tensor((1, 4, 5, 6), "float32")):
        with R.dataflow():
            biased = R.add(x, SECOND)
            gate = R.sigmoid(biased)
            swish = R.multiply(biased, gate)
            total = R.add(swish, z)
            halved = R.multiply(total, R.const(0.5))
            y = R.exp(halved)
            R.output(y)
        return y


def test_removes_a_pair_around_elementwise_operators() -> None:
    result = check_rewrite(EliminateTransposePairs(), Before, Expected, tolerance=0)
    assert node_names(result.module) == ["biased", "gate", "swish", "total", "halved", "y"]
    assert result.rewrites == (Rewrite("back", "undoes a transpose above halved: both removed"),)


def test_merges_neighbours_and_removes_inverse_ones() -> None:
    @I.ir_module
    class Neighbours:
        @R.function
        def main(x: R.Tensor((2, 3, 4), "float32")):
            with R.dataflow():
                a = R.permute_dims(x, axes=[1, 2, 0])
                b = R.permute_dims(a, axes=[1, 2, 0])
                c = R.permute_dims(b, axes=[1, 2, 0])
                y = R.exp(c)
                z = R.permute_dims(a)
                R.output(y, z)
            return (y, z)

    @I.ir_module
    class Merged:
        @R.function
        def main(x: R.Tensor((2, 3, 4), "float32")):
            with R.dataflow():
                y = R.exp(x)
                z = R.permute_dims(x, axes=[0, 2, 1])
                R.output(y, z)
            return (y, z)

    result = check_rewrite(EliminateTransposePairs(), Neighbours, Merged, tolerance=0)
    assert [(r.node, r.what) for r in result.rewrites] == [
        ("b", "merged with a"),
        ("c", "undoes b: removed"),
        ("z", "merged with a"),
    ]


def test_refuses_when_a_value_between_is_read_elsewhere() -> None:
    @I.ir_module
    class Shared:
        @R.function
        def main(x: R.Tensor((2, 3, 4), "float32")):
            with R.dataflow():
                a = R.permute_dims(x, axes=[1, 2, 0])
                act = R.exp(a)
                b = R.permute_dims(act, axes=[2, 0, 1])
                R.output(act, b)
            return (act, b)

    result = check_unchanged(EliminateTransposePairs(), Shared)
    assert reasons(result) == {"b": "act between the transposes is read by other nodes too"}


def test_refuses_other_operators_between_and_other_permutations() -> None:
    @I.ir_module
    class Blocked:
        @R.function
        def main(x: R.Tensor((3, 3, 3), "float32"), row: R.Tensor((3,), "float32")):
            with R.dataflow():
                a = R.permute_dims(x, axes=[1, 2, 0])
                summed = R.cumsum(a, axis=0)
                act = R.exp(summed)
                b = R.permute_dims(act, axes=[2, 0, 1])
                c = R.permute_dims(x, axes=[1, 2, 0])
                act2 = R.exp(c)
                d = R.permute_dims(act2, axes=[1, 2, 0])
                e = R.permute_dims(x, axes=[1, 2, 0])
                rowed = R.add(e, row)
                f = R.permute_dims(rowed, axes=[2, 0, 1])
                R.output(b, d, f)
            return (b, d, f)

    assert reasons(check_unchanged(EliminateTransposePairs(), Blocked)) == {
        "b": "summed above it is neither elementwise nor a transpose",
        "d": "c above it is not its inverse",
        "f": "row above it has fewer dimensions and is broadcast",
    }


def test_refuses_long_ways() -> None:
    result = check_unchanged(EliminateTransposePairs(max_operators=3), Before)
    assert reasons(result) == {"back": "more than 3 operators lie between it and the transposes above"}


def test_says_nothing_about_a_transpose_without_partner() -> None:
    @I.ir_module
    class Alone:
        @R.function
        def main(x: R.Tensor((2, 3), "float32")):
            with R.dataflow():
                y = R.permute_dims(x)
                R.output(y)
            return y

    assert check_unchanged(EliminateTransposePairs(), Alone).declines == ()
