"""FuseOperators: what lands in one kernel, how kernels and calls are named, and why something stays alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tvm
from pass_checks import check_numbers, check_rewrite, node_names, reasons, run_pass
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T

from lepton_compiler.core.contracts import bindings, check_contract
from lepton_compiler.core.lone_operators import OpPattern, kernel_of
from lepton_compiler.core.program import Rewrite, Stage
from lepton_compiler.passes.fusion.fuse_operators import FuseOperators
from lepton_compiler.passes.lowering.legalize_operators import LegalizeOperators
from lepton_compiler.targets.registry import get_target

_RANDOM = np.random.default_rng(5)
_SHAPE = (1, 4, 6, 6)


@I.ir_module
class Before:
    @T.prim_func(private=True, s_tir=True)
    def add(a: T.Buffer((8,), "float32"), b: T.Buffer((8,), "float32"), c: T.Buffer((8,), "float32")):
        T.func_attr({"op_pattern": 0, "tirx.noalias": True})
        for i in range(8):
            with T.sblock("add"):
                v = T.axis.spatial(8, i)
                c[v] = a[v] + b[v]

    @T.prim_func(private=True, s_tir=True)
    def relu(a: T.Buffer((8,), "float32"), c: T.Buffer((8,), "float32")):
        T.func_attr({"op_pattern": 0, "tirx.noalias": True})
        for i in range(8):
            with T.sblock("relu"):
                v = T.axis.spatial(8, i)
                c[v] = T.max(a[v], T.float32(0))

    @R.function
    def main(x: R.Tensor((8,), "float32"), y: R.Tensor((8,), "float32")):
        cls = Before
        with R.dataflow():
            total = R.call_tir(cls.add, (x, y), out_ty=R.Tensor((8,), "float32"))
            activated = R.call_tir(cls.relu, (total,), out_ty=R.Tensor((8,), "float32"))
            R.output(activated)
        return activated


@I.ir_module
class Expected:
    @T.prim_func(private=True, s_tir=True)
    def fused_add_relu(
        a: T.Buffer((T.int64(8),), "float32"),
        b: T.Buffer((T.int64(8),), "float32"),
        c: T.Buffer((T.int64(8),), "float32", elem_offset=0),
    ):
        T.func_attr({"op_pattern": 0, "tirx.noalias": True})
        total = T.sblock_alloc_buffer((T.int64(8),), elem_offset=0)
        for i in range(8):
            with T.sblock("add"):
                v = T.axis.spatial(8, i)
                total[v] = a[v] + b[v]
        for i in range(8):
            with T.sblock("relu"):
                v = T.axis.spatial(8, i)
                c[v] = T.max(total[v], T.float32(0))

    @R.function
    def main(x: R.Tensor((8,), "float32"), y: R.Tensor((8,), "float32")):
        cls = Expected
        with R.dataflow():
            activated = R.call_tir(cls.fused_add_relu, (x, y), out_ty=R.Tensor((8,), "float32"))
            R.output(activated)
        return activated


def test_merges_two_kernels() -> None:
    result = check_rewrite(FuseOperators(), Before, Expected, tolerance=0)
    assert node_names(result.module) == ["total+activated"]
    assert result.rewrites == (Rewrite("total+activated", "fused into kernel fused_add_relu"),)


class _Model:
    """A model written operator by operator, each under its node's name, with a symbolic batch if asked for."""

    def __init__(self, *shapes: tuple[int, ...], batch: tvm.tirx.Var | None = None) -> None:
        self._builder = relax.BlockBuilder()
        dims = [shape if batch is None else (batch, *shape[1:]) for shape in shapes]
        self.inputs = [relax.Var(f"x{i}", relax.TensorType(shape, "float32")) for i, shape in enumerate(dims)]

    def build(self, write: Callable[..., tuple[relax.Expr, ...]]) -> tvm.IRModule:
        """The legalized module; ``write`` takes an emit function and the inputs and returns the outputs."""
        with self._builder.function("main", self.inputs):
            with self._builder.dataflow():
                outputs = write(lambda name, value: self._builder.emit(value, name), *self.inputs)
                output = self._builder.emit_output(relax.Tuple(list(outputs)))
            self._builder.emit_func_output(output)
        legalize = [relax.transform.LegalizeOps(skip_ops=["relax.reshape"]), relax.transform.AnnotateTIROpPattern()]
        return tvm.transform.Sequential(legalize)(self._builder.get())


def _constant(*shape: int) -> relax.Expr:
    return relax.const(_RANDOM.normal(size=shape).astype("float32"))


def _residual_block(emit: Callable, x: relax.Var, prefix: str) -> relax.Var:
    y = emit(f"{prefix}/conv", relax.op.nn.conv2d(x, _constant(4, 4, 3, 3), padding=1))
    y = emit(f"{prefix}/bias", relax.op.add(y, _constant(1, 4, 1, 1)))
    y = emit(f"{prefix}/add", relax.op.add(y, x))
    return emit(f"{prefix}/relu", relax.op.nn.relu(y))


def _kernels(module: tvm.IRModule) -> list[str | None]:
    calls = [kernel_of(binding.value) for binding in bindings(module)]
    return [None if kernel is None else kernel.name_hint for kernel in calls]


@pytest.mark.parametrize("symbolic", [False, True])
def test_bias_residual_and_activation_land_in_the_convolution(symbolic: bool) -> None:
    batch = tvm.tirx.Var("n", "int64") if symbolic else None

    def write(emit: Callable, x: relax.Var) -> tuple[relax.Var]:
        return (_residual_block(emit, _residual_block(emit, x, "a"), "b"),)

    before = _Model(_SHAPE, batch=batch).build(write)
    result = run_pass(FuseOperators(), before)
    assert node_names(result.module) == ["a/conv+a/bias+a/add+a/relu", "b/conv+b/bias+b/add+b/relu"]
    # Equal kernels are one.
    assert _kernels(result.module) == ["fused_conv2d_add_add_relu"] * 2
    assert {var.name_hint for var in result.module.functions} == {"main", "fused_conv2d_add_add_relu"}
    check_contract(result.module, Stage.FUSED)
    check_numbers(before, result.module, tolerance=0, dimensions={"n": 2})


def test_matmul_with_bias_and_a_gate_that_reads_it_twice() -> None:
    def write(emit: Callable, x: relax.Var) -> tuple[relax.Var]:
        product = emit("fc", relax.op.matmul(x, _constant(6, 8)))
        biased = emit("bias", relax.op.add(product, _constant(8)))
        gate = emit("gate", relax.op.sigmoid(biased))
        return (emit("swish", relax.op.multiply(biased, gate)),)

    before = _Model((3, 6)).build(write)
    result = run_pass(FuseOperators(), before)
    assert node_names(result.module) == ["fc+bias+gate+swish"]
    check_numbers(before, result.module, tolerance=0)


def test_kernels_are_numbered_in_the_order_of_their_first_call() -> None:
    def write(emit: Callable, x: relax.Var) -> tuple[relax.Var, ...]:
        wide = emit("wide", relax.op.matmul(x, _constant(6, 8)))
        narrow = emit("narrow", relax.op.matmul(x, _constant(6, 2)))
        again = emit("again", relax.op.matmul(x, _constant(6, 8)))
        return wide, narrow, again

    module = run_pass(FuseOperators(), _Model((3, 6)).build(write)).module
    assert _kernels(module) == ["matmul", "matmul_1", "matmul"]
    assert all(name.isidentifier() for name in _kernels(module))


def test_long_groups_get_short_names() -> None:
    def write(emit: Callable, x: relax.Var) -> tuple[relax.Var]:
        for i in range(9):
            x = emit(f"n{i}", relax.op.sqrt(x))
        return (x,)

    module = run_pass(FuseOperators(), _Model((3,)).build(write)).module
    assert _kernels(module) == ["fused_sqrt_sqrt_sqrt_sqrt_sqrt_and_4_more"]
    assert node_names(module) == ["+".join(f"n{i}" for i in range(9))]


def test_a_shared_group_keeps_the_names_of_each_call() -> None:
    """FuseOps gives equal groups one function, whose calls carry the names of the first only."""

    def write(emit: Callable, x: relax.Var, y: relax.Var) -> tuple[relax.Var, ...]:
        return (
            emit("b1", relax.op.exp(emit("a1", relax.op.add(x, relax.const(1.0))))),
            emit("b2", relax.op.exp(emit("a2", relax.op.add(y, relax.const(1.0))))),
        )

    module = run_pass(FuseOperators(), _Model((3,), (3,)).build(write)).module
    assert node_names(module) == ["a1+b1", "a2+b2"]
    assert _kernels(module) == ["fused_add_exp"] * 2


def test_splits_and_reshapes_stay_between_kernels() -> None:
    def write(emit: Callable, x: relax.Var) -> tuple[relax.Var, ...]:
        parts = emit("parts", relax.op.split(x, 2, axis=0))
        left = emit("left", relax.op.exp(emit("item", relax.TupleGetItem(parts, 0))))
        view = emit("view", relax.op.reshape(left, (6,)))
        return view, emit("right", relax.op.negative(emit("item1", relax.TupleGetItem(parts, 1))))

    before = _Model((4, 3)).build(write)
    result = run_pass(FuseOperators(), before)
    assert "view" in node_names(result.module)
    check_numbers(before, result.module, tolerance=0)


def test_says_why_an_operator_stays_alone() -> None:
    def write(emit: Callable, x: relax.Var) -> tuple[relax.Var, ...]:
        shared = emit("shared", relax.op.matmul(x, _constant(6, 6)))
        left = emit("left", relax.op.matmul(emit("relu", relax.op.nn.relu(shared)), _constant(6, 6)))
        output = emit("output", relax.op.matmul(shared, _constant(6, 6)))
        behind = emit("behind", relax.op.nn.relu(output))
        viewed = emit("viewed", relax.op.exp(emit("view", relax.op.reshape(left, (18,)))))
        return behind, output, viewed

    result = run_pass(FuseOperators(), _Model((3, 6)).build(write))
    assert reasons(result) == {
        "relu": "the output of shared is read by 2 nodes",
        "behind": "the output of output is also an output of the model",
        "viewed": "a reshape stands between it and left",
    }
    check_contract(result.module, Stage.FUSED)


def _with_a_missed_fusion() -> tvm.IRModule:
    """A relu whose pattern says that it repeats its input, which TVM fuses behind no anchor."""

    def write(emit: Callable, x: relax.Var) -> tuple[relax.Var]:
        return (emit("relu", relax.op.nn.relu(emit("fc", relax.op.matmul(x, _constant(6, 6))))),)

    module = _Model((3, 6)).build(write)
    relu = module.get_global_var("relu")
    module.update_func(relu, module[relu].with_attr("op_pattern", int(OpPattern.BROADCAST)))
    return module


def test_a_missed_fusion_is_reported_and_breaks_no_contract(missed_fusions_allowed: None) -> None:
    result = run_pass(FuseOperators(), _with_a_missed_fusion())
    assert reasons(result) == {"relu": "nothing keeps it from the kernel of fc, but TVM did not fuse it"}
    check_contract(result.module, Stage.FUSED)


def test_a_missed_fusion_fails_tests() -> None:
    with pytest.raises(AssertionError, match="relu could run in the kernel of fc"):
        run_pass(FuseOperators(), _with_a_missed_fusion())


@pytest.mark.parametrize("operator", ["maximum", "minimum"])
@pytest.mark.parametrize("batch", [1, 2, None], ids=["one", "two", "symbolic"])
def test_an_extremum_of_two_tensors_lands_in_the_product(operator: str, batch: int | None) -> None:
    rows = tvm.tirx.Var("n", "int64") if batch is None else batch
    builder = relax.BlockBuilder()
    x, y = (
        relax.Var(name, relax.TensorType(shape, "float32"))
        for name, shape in (("x", (rows, 5, 6)), ("y", (rows, 5, 1)))
    )
    with builder.function("main", [x, y]):
        with builder.dataflow():
            product = builder.emit(relax.op.matmul(x, _constant(6, 1)), "fc")
            output = builder.emit_output(getattr(relax.op, operator)(product, y), "extremum")
        builder.emit_func_output(output)
    legalized = LegalizeOperators().run(builder.get(), get_target("x86-64-v2")).module
    result = run_pass(FuseOperators(), legalized)
    assert node_names(result.module) == ["fc+extremum"]
    check_numbers(builder.get(), result.module, tolerance=0, dimensions={"n": 3})


def test_the_same_program_gives_the_same_text() -> None:
    def write(emit: Callable, x: relax.Var) -> tuple[relax.Var]:
        weights = relax.const(np.ones((4, 4, 1, 1), "float32"))
        conv = emit("conv", relax.op.nn.conv2d(x, weights))
        return (emit("relu", relax.op.nn.relu(conv)),)

    texts = {run_pass(FuseOperators(), _Model(_SHAPE).build(write)).module.script(show_meta=True) for _ in range(2)}
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("function", "kernels"),
    [
        ("tanh", ["fused_tanh_tanh_tanh", "tanh", "fused_tanh_tanh_tanh"]),
        ("abs", ["fused_abs_abs_abs_abs_abs_and_2_more"]),
    ],
)
def test_functions_of_functions_are_cut_before_they_compile_for_minutes(function: str, kernels: list[str]) -> None:
    def write(emit: Callable, x: relax.Var) -> tuple[relax.Var]:
        for i in range(7):
            x = emit(f"f{i}", getattr(relax.op, function)(x))
        return (x,)

    before = _Model((4, 8)).build(write)
    result = run_pass(FuseOperators(), before)
    assert _kernels(result.module) == kernels
    assert ("f3" in reasons(result)) == (function == "tanh")
    check_numbers(before, result.module, tolerance=0)


def test_a_chain_begins_anew_behind_a_convolution() -> None:
    def write(emit: Callable, x: relax.Var) -> tuple[relax.Var]:
        for i in range(4):
            x = emit(f"f{i}", relax.op.tanh(emit(f"c{i}", relax.op.nn.conv2d(x, _constant(4, 4, 3, 3), padding=1))))
        return (x,)

    result = run_pass(FuseOperators(), _Model(_SHAPE).build(write))
    assert _kernels(result.module) == ["fused_conv2d_tanh"] * 4
