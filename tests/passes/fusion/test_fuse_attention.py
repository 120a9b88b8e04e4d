"""FuseAttention: the forms that exporters write, and what stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from pass_checks import check_numbers, check_unchanged, node_names, reasons, run_pass
from tvm import relax

from lepton_compiler.core.contracts import bindings, operator_name
from lepton_compiler.core.node_names import parts_of
from lepton_compiler.passes.fusion.fuse_attention import FuseAttention

TOKENS, HEADS, DIM = 9, 3, 8
SCALE = relax.const(np.float32(DIM**0.5))


def _module(shapes, build) -> tvm.IRModule:
    """A module whose ``main`` is ``build(emit, *inputs)``; ``emit`` names bindings ``n0``, ``n1``, ..."""
    builder = relax.BlockBuilder()
    symbols: dict[str, tvm.tirx.Var] = {}

    def size(dim):
        return symbols.setdefault(dim, tvm.tirx.Var(dim, "int64")) if isinstance(dim, str) else dim

    inputs = [relax.Var(f"x{i}", relax.TensorType([size(d) for d in s], "float32")) for i, s in enumerate(shapes)]
    count = iter(range(100))
    with builder.function("main", inputs):
        with builder.dataflow():
            output = builder.emit_output(build(lambda value: builder.emit(value, f"n{next(count)}"), *inputs))
        builder.emit_func_output(output)
    return builder.get()


def _heads(emit, x, order):
    batch, tokens = x.ty.shape.values[:2]
    split = emit(relax.op.reshape(x, [batch, tokens, HEADS, DIM]))
    return emit(relax.op.permute_dims(split, order))


def _bert(emit, x, y, z, mask=None, divide=True, extra=None):
    """Queries, keys and values from tensors of their own, the mask added to scaled scores."""
    query, key, value = _heads(emit, x, [0, 2, 1, 3]), _heads(emit, y, [0, 2, 3, 1]), _heads(emit, z, [0, 2, 1, 3])
    scores = emit(relax.op.matmul(query, key))
    if divide:
        scores = emit(relax.op.divide(scores, SCALE))
    if mask is not None:
        scores = emit(relax.op.add(scores, mask))
    if extra is not None:
        scores = extra(emit, scores)
    mixed = emit(relax.op.matmul(emit(relax.op.nn.softmax(scores, axis=-1)), value))
    batch, tokens = x.ty.shape.values[:2]
    merged = emit(relax.op.permute_dims(mixed, [0, 2, 1, 3]))
    return emit(relax.op.reshape(merged, [batch, tokens, HEADS * DIM]))


def _vit(emit, x):
    """Queries, keys and values from one tensor, cut out of it by slices."""
    split = emit(relax.op.reshape(x, [2, TOKENS, 3, HEADS, DIM]))
    split = emit(relax.op.permute_dims(split, [2, 0, 3, 1, 4]))
    parts = [emit(relax.op.strided_slice(split, [0], [i], [i + 1], [1])) for i in range(3)]
    query, key, value = (emit(relax.op.reshape(part, [2, HEADS, TOKENS, DIM])) for part in parts)
    query = emit(relax.op.multiply(query, relax.const(np.float32(0.3))))
    scores = emit(relax.op.matmul(query, emit(relax.op.permute_dims(key, [0, 1, 3, 2]))))
    mixed = emit(relax.op.matmul(emit(relax.op.nn.softmax(scores, axis=3)), value))
    return emit(relax.op.permute_dims(mixed, [0, 2, 1, 3]))


def _one_head(emit, x, y, z):
    scores = emit(relax.op.matmul(x, emit(relax.op.permute_dims(y, [0, 2, 1]))))
    return emit(relax.op.matmul(emit(relax.op.nn.softmax(scores)), z))


ACTIVATION = (2, TOKENS, HEADS * DIM)
CONSTANT_MASK = relax.const(np.triu(np.full((TOKENS, TOKENS), -np.inf, "float32"), 1))
FUSED = {
    "BERT without a mask": ([ACTIVATION] * 3, _bert),
    "a mask for the keys": ([ACTIVATION] * 3 + [(2, 1, 1, TOKENS)], _bert),
    "a mask for each query": ([ACTIVATION] * 3 + [(TOKENS, TOKENS)], _bert),
    "a mask for each head": ([ACTIVATION] * 3 + [(1, HEADS, TOKENS, TOKENS)], _bert),
    "one number for each query": ([ACTIVATION] * 3 + [(2, 1, TOKENS, 1)], _bert),
    "a constant causal mask": ([ACTIVATION] * 3, lambda emit, *xs: _bert(emit, *xs, CONSTANT_MASK)),
    "other tokens as keys": ([ACTIVATION, (2, 14, HEADS * DIM), (2, 14, HEADS * DIM)], _bert),
    "ViT": ([(2, TOKENS, 3 * HEADS * DIM)], _vit),
    "one head, three axes": ([(2, 5, 7), (2, 6, 7), (2, 6, 4)], _one_head),
}


@pytest.mark.parametrize("name", FUSED)
def test_becomes_one_kernel(name):
    module = _module(*FUSED[name])
    result = run_pass(FuseAttention(), module)
    left = [operator_name(binding.value) for binding in bindings(result.module)]
    assert set(left) <= {"relax.call_tir", "relax.reshape"}
    assert left.count("relax.call_tir") == 1
    check_numbers(module, result.module, tolerance=3e-6)
    fused = "fused into one attention kernel, from its operands to the product behind the softmax"
    assert any(rewrite.what.startswith(fused) for rewrite in result.rewrites)
    told = {part for rewrite in result.rewrites for part in parts_of(rewrite.node)}
    left = {part for name in node_names(result.module) for part in parts_of(name)}
    assert {f"n{i}" for i in range(len(node_names(module)) - 1)} - left <= told, "all but the alias that is the output"


def test_the_kernel_carries_the_names_of_all_its_nodes():
    module = _module([(2, 5, 7), (2, 6, 7), (2, 6, 4)], _one_head)
    assert node_names(run_pass(FuseAttention(), module).module)[-1] == "n1+n2+n3"


def test_every_node_that_it_took_in_says_so():
    """Scale, mask and softmax, both products, and the reshapes and transposes that operands are read through."""
    module = _module([ACTIVATION] * 3 + [(2, 1, 1, TOKENS)], _bert)
    rewrite, transpose = run_pass(FuseAttention(), module).rewrites
    assert set(parts_of(rewrite.node)) == {f"n{i}" for i in range(11)}
    assert transpose.node == "n11"


def test_a_view_that_others_read_too_says_so_and_stays():
    def build(emit, x, y, z):
        turned = emit(relax.op.permute_dims(y, [0, 2, 1]))
        mixed = emit(relax.op.matmul(emit(relax.op.nn.softmax(emit(relax.op.matmul(x, turned)))), z))
        return emit(relax.op.add(mixed, turned))

    result = run_pass(FuseAttention(), _module([(2, 5, 5)] * 3, build))
    assert node_names(result.module)[0] == "n0"
    assert parts_of(result.rewrites[0].node) == ["n0", "n1", "n2", "n3"]


def test_another_order_of_the_result_is_a_transpose_of_its_own():
    def build(emit, x, y, z):
        order = [0, 2, 1, 3]
        query, key, value = (_heads(emit, t, o) for t, o in ((x, order), (y, [0, 2, 3, 1]), (z, order)))
        return emit(relax.op.matmul(emit(relax.op.nn.softmax(emit(relax.op.matmul(query, key)))), value))

    module = _module([ACTIVATION] * 3, build)
    result = run_pass(FuseAttention(), module)
    assert operator_name(list(bindings(result.module))[-1].value) == "relax.permute_dims"
    check_numbers(module, result.module, tolerance=3e-6)


def _relu(emit, scores):
    return emit(relax.op.nn.relu(scores))


def _read_twice(emit, scores):
    return emit(relax.op.add(scores, emit(relax.op.multiply(scores, relax.const(np.float32(2))))))


REFUSED = {
    "symbolic length": (
        [(2, "n", HEADS * DIM)] * 3,
        _bert,
        "attention not fused: the number of tokens or heads is symbolic",
    ),
    "activation": (
        [ACTIVATION] * 3,
        lambda emit, *xs: _bert(emit, *xs, extra=_relu),
        "attention not fused: n8 between the product and the softmax is neither a scale nor one mask",
    ),
    "two readers": (
        [ACTIVATION] * 3,
        lambda emit, *xs: _bert(emit, *xs, divide=False, extra=_read_twice),
        "attention not fused: n6 is read by 2 nodes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name):
    shapes, build, reason = REFUSED[name]
    assert reason in reasons(check_unchanged(FuseAttention(), _module(shapes, build))).values()


def test_refuses_more_scores_than_the_cache_holds():
    module = _module([ACTIVATION] * 3, _bert)
    (reason,) = reasons(check_unchanged(FuseAttention(max_scores=10), module)).values()
    assert reason.startswith("attention not fused: the scores of ")
    assert reason.endswith(f"rows for {TOKENS} keys don't fit the second cache")
