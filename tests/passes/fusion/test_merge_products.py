"""MergeProducts: which products become one, what is left of them, and what keeps them apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pass_checks
import pytest
import tvm
from pass_checks import check_numbers, check_rewrite, node_names, reasons
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.core.contracts import bindings, operator_name
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.passes.fusion.fuse_attention import FuseAttention
from lepton_compiler.passes.fusion.merge_products import MergeProducts
from lepton_compiler.passes.precision.convert_precision import Precision

TOKENS, HEADS, DIM = 9, 3, 8
WIDTH = HEADS * DIM
ROWS = 512
"""So many rows that a product takes longer than the copy of a few columns of it."""

TARGET = "x86-64-v4"
"""Its vectors have 16 lanes, so that four columns are few."""

Emit = Callable[[str, relax.Expr], relax.Var]


def _module(shape, build: Callable[[Emit, relax.Var], relax.Expr]) -> tvm.IRModule:
    """A module whose ``main`` is ``build(emit, x)``; ``emit(name, value)`` names bindings."""
    symbols: dict[str, tvm.tirx.Var] = {}
    sizes = [symbols.setdefault(d, tvm.tirx.Var(d, "int64")) if isinstance(d, str) else d for d in shape]
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(sizes, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            result = build(lambda name, value: builder.emit(value, name), x)
            outputs = [builder.emit_output(field) for field in result.fields] if isinstance(result, relax.Tuple) else []
            output = relax.Tuple(outputs) if outputs else builder.emit_output(result)
        builder.emit_func_output(output)
    return builder.get()


def run_pass(pass_: Pass, module: tvm.IRModule) -> PassResult:
    return pass_checks.run_pass(pass_, module, target=TARGET)


def check_unchanged(pass_: Pass, module: tvm.IRModule) -> PassResult:
    return pass_checks.check_unchanged(pass_, module, target=TARGET)


def _random(*shape: int, seed: int = 0) -> relax.Expr:
    return relax.const(np.random.default_rng((*shape, seed)).standard_normal(shape).astype(np.float32) / 4)


def _linear(emit: Emit, x: relax.Var, name: str, columns: int, *, bias: bool = True, seed: int = 0) -> relax.Var:
    inner = int(x.ty.shape.values[-1])
    product = emit(f"{name}/1" if bias else name, relax.op.matmul(x, _random(inner, columns, seed=seed)))
    return emit(name, relax.op.add(product, _random(columns, seed=seed))) if bias else product


def _heads(*columns: int) -> Callable[[Emit, relax.Var], relax.Expr]:
    """Products whose results are the model's outputs."""

    def build(emit: Emit, x: relax.Var) -> relax.Expr:
        return relax.Tuple([_linear(emit, x, f"head{i}", count, seed=i) for i, count in enumerate(columns)])

    return build


def _attention(emit: Emit, x: relax.Var, bias: str = "qkv", heads: int = HEADS) -> relax.Expr:
    """Self-attention; ``bias`` names those of q, k and v that have one."""
    batch, tokens = x.ty.shape.values[:2]
    parts = {}
    for seed, (name, order) in enumerate({"q": [0, 2, 1, 3], "k": [0, 2, 3, 1], "v": [0, 2, 1, 3]}.items()):
        part = _linear(emit, x, name, WIDTH, bias=name in bias, seed=seed)
        split = emit(f"{name}_split", relax.op.reshape(part, [batch, tokens, heads, WIDTH // heads]))
        parts[name] = emit(f"{name}_heads", relax.op.permute_dims(split, order))
    scores = emit("scores", relax.op.matmul(parts["q"], parts["k"]))
    mixed = emit("mixed", relax.op.matmul(emit("softmax", relax.op.nn.softmax(scores)), parts["v"]))
    merged = emit("turned", relax.op.permute_dims(mixed, [0, 2, 1, 3]))
    return emit("y", relax.op.reshape(merged, [batch, tokens, WIDTH]))


def _operators(module: tvm.IRModule) -> list[str]:
    return [(operator_name(binding.value) or "").removeprefix("relax.") for binding in bindings(module)]


def test_before_and_after() -> None:
    first, second = np.ones((256, 4), np.float32), np.full((256, 3), 2, np.float32)
    bias = np.arange(4, dtype=np.float32)

    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((512, 256), "float32")):
            with R.dataflow():
                p = R.matmul(x, R.const(first))
                a = R.add(p, R.const(bias))
                q = R.matmul(x, R.const(second))
                y = R.concat((a, q), axis=1)
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((512, 256), "float32")):
            with R.dataflow():
                p = R.matmul(x, R.const(np.concatenate([first, second], 1)))
                s = R.add(p, R.const(np.concatenate([bias, np.zeros(3, np.float32)])))
                a = R.strided_slice(s, (1,), (0,), (4,), (1,), assume_inbound=True)
                q = R.strided_slice(s, (1,), (4,), (7,), (1,), assume_inbound=True)
                y = R.concat((a, q), axis=1)
                R.output(y)
            return y

    result = check_rewrite(MergeProducts(), Before, Expected, target=TARGET)
    assert node_names(result.module) == ["p+q", "a+q", "a", "q", "y"]


@pytest.mark.parametrize("bias", ["qkv", "q", "kv", ""])
@pytest.mark.parametrize("batch", [1, 3])
def test_parts_are_read_in_place_by_attention(bias: str, batch: int) -> None:
    module = _module((batch, TOKENS, 20), lambda emit, x: _attention(emit, x, bias))
    merged = run_pass(MergeProducts(), module)
    assert _operators(merged.module).count("matmul") == 3
    assert {rewrite.what.rpartition("; ")[2] for rewrite in merged.rewrites} == {"no part is copied"}
    fused = run_pass(FuseAttention(), merged.module)
    assert set(_operators(fused.module)) == {"matmul", "reshape", "call_tir", *(["add"] if bias else [])}
    check_numbers(module, fused.module, tolerance=3e-6)


def test_an_attention_of_whole_vectors_gains_nothing() -> None:
    def build(emit: Emit, x: relax.Var) -> relax.Expr:
        query, key, value = (_linear(emit, x, name, 384, seed=seed) for seed, name in enumerate("qkv"))
        scores = emit("scores", relax.op.matmul(query, emit("turned", relax.op.permute_dims(key, [0, 2, 1]))))
        return emit("y", relax.op.matmul(emit("softmax", relax.op.nn.softmax(scores)), value))

    result = check_unchanged(MergeProducts(), _module((1, 128, 384), build))
    reason = "not merged with k, v: estimated 1.00 of the cycles of the products apart; no part is copied"
    assert reasons(result)["q"] == reason


def test_says_what_was_merged_and_why() -> None:
    result = run_pass(MergeProducts(), _module((1, TOKENS, 20), _attention))
    what = {rewrite.node: rewrite.what for rewrite in result.rewrites}
    assert list(what) == ["q", "k", "v"]
    assert what["q"].startswith("merged with k, v into one product of 72 columns: estimated 0.")


def test_copies_are_made_of_narrow_products() -> None:
    module = _module((ROWS, 256), _heads(4, 1, 10))
    result = run_pass(MergeProducts(), module)
    assert _operators(result.module) == ["matmul", "add", *["strided_slice"] * 3]
    assert all(rewrite.what.endswith("; 3 of 3 parts are copied") for rewrite in result.rewrites)
    assert node_names(result.module)[2:] == ["head0", "head1", "head2"]
    check_numbers(module, result.module, tolerance=2e-6)


def test_copies_of_wide_products_cost_more_than_they_gain() -> None:
    result = check_unchanged(MergeProducts(), _module((ROWS, 64), _heads(256, 256)))
    assert list(reasons(result)) == ["head0", "head1"]
    assert reasons(result)["head0"].startswith("not merged with head1: estimated 1.")
    assert reasons(result)["head0"].endswith("of the cycles of the products apart; 2 of 2 parts are copied")


def test_narrow_products_are_merged_without_a_wide_one() -> None:
    module = _module((ROWS, 64), _heads(4, 512, 3))
    result = run_pass(MergeProducts(), module)
    assert [rewrite.node for rewrite in result.rewrites] == ["head0", "head2"]
    assert reasons(result) == {
        "head1": "not merged with head0, head2: its part would be copied, which takes longer than a product of its own"
    }
    check_numbers(module, result.module, tolerance=2e-6)


def _attention_and_output(emit: Emit, x: relax.Var) -> relax.Expr:
    """Keys and values go to the model's outputs, too, as a decoder's cache."""
    y = _attention(emit, x)
    cached = [emit(f"cached_{name}", relax.op.nn.relu(_linear(emit, x, f"extra_{name}", 300))) for name in "kv"]
    return relax.Tuple([y, *cached])


def test_products_with_other_readers_stay_apart_from_an_attention() -> None:
    module = _module((1, 64, 20), _attention_and_output)
    result = run_pass(MergeProducts(), module)
    assert [rewrite.node for rewrite in result.rewrites] == ["q", "k", "v"]
    assert list(reasons(result)) == ["extra_k", "extra_v"]
    check_numbers(module, result.module, tolerance=3e-6)


def test_an_output_among_the_operands_of_an_attention_is_copied() -> None:
    def build(emit: Emit, x: relax.Var) -> relax.Expr:
        kept: dict[str, relax.Var] = {}

        def keep(name: str, value: relax.Expr) -> relax.Var:
            kept[name] = emit(name, value)
            return kept[name]

        return relax.Tuple([_attention(keep, x), kept["k"]])

    module = _module((1, 64, 20), build)
    result = run_pass(MergeProducts(), module)
    assert [rewrite.node for rewrite in result.rewrites] == ["q", "v"]
    assert reasons(result)["k"].startswith("not merged with q, v: its part would be copied")
    check_numbers(module, result.module, tolerance=3e-6)


def test_a_second_product_may_stand_behind_a_reader_of_the_first() -> None:
    def build(emit: Emit, x: relax.Var) -> relax.Expr:
        first = emit("act", relax.op.nn.relu(_linear(emit, x, "a", 4)))
        return relax.Tuple([first, _linear(emit, x, "b", 4, seed=1)])

    module = _module((ROWS, 256), build)
    result = run_pass(MergeProducts(), module)
    assert [rewrite.node for rewrite in result.rewrites] == ["a", "b"]
    check_numbers(module, result.module, tolerance=2e-6)


def test_a_product_with_two_biases_is_one_member() -> None:
    def build(emit: Emit, x: relax.Var) -> relax.Expr:
        product = _linear(emit, x, "p", 4, bias=False)
        sums = [emit(f"sum{i}", relax.op.add(product, _random(4, seed=i))) for i in range(2)]
        return relax.Tuple([*sums, _linear(emit, x, "q", 3)])

    module = _module((ROWS, 256), build)
    result = run_pass(MergeProducts(), module)
    assert [rewrite.node for rewrite in result.rewrites] == ["p", "q"]
    check_numbers(module, result.module, tolerance=2e-6)


def test_symbolic_rows() -> None:
    module = _module(("n", 5, 256), _heads(4, 3))
    result = run_pass(MergeProducts(), module)
    assert [rewrite.node for rewrite in result.rewrites] == ["head0", "head1"]
    check_numbers(module, result.module, tolerance=2e-6, dimensions={"n": 7})


def test_parts_of_an_attention_of_symbolic_length_would_be_copied() -> None:
    result = check_unchanged(MergeProducts(), _module((1, "n", 4), _attention))
    assert reasons(result)["q"].endswith("3 of 3 parts are copied")


def test_without_attention_kernels_its_operands_would_be_copied() -> None:
    result = check_unchanged(MergeProducts(attention=None), _module((1, 64, 20), _attention))
    assert reasons(result)["v"].startswith("not merged with q, k: ")
    assert reasons(result)["v"].endswith("3 of 3 parts are copied")


def test_switched_off() -> None:
    result = check_unchanged(MergeProducts(enabled=False), _module((1, TOKENS, 20), _attention))
    assert reasons(result)["k"] == "not merged with q, v: merging of products is switched off"


def test_products_of_different_precision_stay_apart() -> None:
    module = _module((1, TOKENS, 20), _attention)
    result = run_pass(MergeProducts(precision=Precision.BF16, keep_fp32=("k",)), module)
    assert [rewrite.node for rewrite in result.rewrites] == ["q", "v"]
    assert reasons(result) == {"k": "not merged with q, v: --keep-fp32 gives it another precision"}
    first = run_pass(MergeProducts(precision=Precision.MIXED, keep_fp32=("first",)), module)
    assert [rewrite.node for rewrite in first.rewrites] == ["k", "v"]
    alike = run_pass(MergeProducts(precision=Precision.BF16, keep_fp32=("*",)), module)
    assert [rewrite.node for rewrite in alike.rewrites] == ["q", "k", "v"]
    in_fp32 = run_pass(MergeProducts(keep_fp32=("k",)), module)
    assert [rewrite.node for rewrite in in_fp32.rewrites] == ["q", "k", "v"]


def test_a_weight_that_others_read_is_not_doubled() -> None:
    def build(emit: Emit, x: relax.Var) -> relax.Expr:
        products = [_linear(emit, x, name, 4, seed=seed) for seed, name in enumerate("abc")]
        other = _linear(emit, emit("act", relax.op.nn.relu(x)), "d", 4, seed=1)
        return relax.Tuple([*products, other])

    module = _module((ROWS, 256), build)
    result = run_pass(MergeProducts(), module)
    assert [rewrite.node for rewrite in result.rewrites] == ["a", "c"]
    assert reasons(result) == {"b": "not merged with a, c: its weight is read by others, too, and would be there twice"}
    check_numbers(module, result.module, tolerance=2e-6)


def test_layers_that_share_all_weights_share_the_joined_one() -> None:
    def build(emit: Emit, x: relax.Var) -> relax.Expr:
        layers = [x, emit("act", relax.op.nn.relu(x))]
        return relax.Tuple([_linear(emit, y, f"{i}{j}", 4, seed=j) for i, y in enumerate(layers) for j in range(2)])

    result = run_pass(MergeProducts(), _module((ROWS, 256), build))
    assert [rewrite.node for rewrite in result.rewrites] == ["00", "01", "10", "11"]


def test_a_lone_product_is_not_worth_a_word() -> None:
    result = check_unchanged(MergeProducts(), _module((ROWS, 256), _heads(4)))
    assert result.declines == ()
