from pathlib import Path

import numpy as np
import pytest
from golden_file import GoldenFile
from handmade_programs import Body, legalized_module, symbol, tensor
from tvm import relax

from lepton_compiler.build.constants_pool import ConstantsPool
from lepton_compiler.build.dim_expressions import to_text
from lepton_compiler.build.emit_executor import MANIFEST_FILE, WEIGHTS_FILE, ExecutorSource
from lepton_compiler.build.execution_plan import ExecutionPlan, plan_execution
from lepton_compiler.build.plan_memory import plan_memory
from lepton_compiler.build.toolchain import compile_c, write_runtime_headers
from lepton_compiler.core.abi import ALIGNMENT
from lepton_compiler.core.manifest import (
    FORMAT,
    Manifest,
    MemoryEntry,
    ModelEntry,
    TargetEntry,
    TensorEntry,
    WeightsEntry,
)
from lepton_compiler.targets.registry import get_target

STRANGE_NAME = 'a"b\\c??/d\n%s */ é 模型 \x01'
"""Quote, backslash, trigraph, newline, format, end of a comment, UTF-8 of two and three bytes, control character."""


SHA256 = bytes(range(32)).hex()


def described(plan: ExecutionPlan, model: str) -> Manifest:
    """A manifest with what the executor takes from it."""

    def entries(kind: str, tensors) -> tuple[TensorEntry, ...]:
        return tuple(
            TensorEntry(
                f"{kind}{index}{STRANGE_NAME if model == STRANGE_NAME else ''}",
                tensor.dtype,
                tuple(dim if isinstance(dim, int) else to_text(dim) for dim in tensor.shape),
            )
            for index, tensor in enumerate(tensors)
        )

    return Manifest(
        format=FORMAT,
        compiler_version="0",
        precision="fp32",
        versions={},
        model=ModelEntry(model, "0" * 64, 17, {}),
        target=TargetEntry("x86-64-v2", "x86_64", ("sse4_2",)),
        inputs=entries("in", plan.inputs),
        outputs=entries("out", plan.outputs),
        symbols=tuple(symbol.name for symbol in plan.symbols),
        weights=WeightsEntry(0, None, ""),
        memory=MemoryEntry(0, 0, 0, None),
        kernels=(),
        passes=(),
    )


def executor(inputs: list[relax.Var], body: Body, model: str = "tiny", external: str | None = None) -> ExecutorSource:
    plan = plan_execution(legalized_module(inputs, body), {})
    offsets = tuple(index * ALIGNMENT for index in range(len(plan.constants)))
    pool = ConstantsPool(offsets, (len(offsets) + 1) * ALIGNMENT, SHA256)
    return ExecutorSource(
        plan, plan_memory(plan.allocations, plan.symbols), pool, described(plan, model), 4096, external
    )


def static_body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    hidden = bb.emit(relax.op.matmul(x, relax.const(np.ones((4, 3), np.float32))), "fc/MatMul")
    flat = bb.emit(relax.op.reshape(bb.emit(relax.op.nn.relu(hidden), "fc/Relu"), (6,)), "flat")
    return relax.Tuple([bb.emit(relax.op.exp(flat), "exp"), x])


def symbolic_body(bb: relax.BlockBuilder, x: relax.Var, y: relax.Var) -> relax.Expr:
    n = x.ty.shape.values[0]
    both = bb.emit(relax.op.concat([x, y], axis=0), "both")
    masked = bb.emit(relax.op.multiply(both, bb.emit(relax.op.ones((n + 2, 3), "float32"), "ones")), "masked")
    return bb.emit(relax.op.reshape(bb.emit(relax.op.exp(masked), "exp"), ((n + 2) * 3,)), "flat")


def static_executor() -> ExecutorSource:
    return executor([tensor("x", (2, 4))], static_body)


def symbolic_executor() -> ExecutorSource:
    return executor([tensor("x", (symbol("batch size"), 3)), tensor("y", (2, 3))], symbolic_body)


def compile_executor(source: ExecutorSource, folder: Path, target_name: str = "x86-64-v2") -> bytes:
    """The object file's bytes."""
    (folder / "executor.c").write_text(source.emit(), encoding="utf-8")
    (folder / MANIFEST_FILE).write_bytes(source.manifest.to_json())
    (folder / WEIGHTS_FILE).write_bytes(bytes(source.constants.size_bytes))
    write_runtime_headers(folder)
    target = get_target(target_name)
    warnings = ("-Wall", "-Wextra", "-Werror")
    compile_c("executor.c", "executor.o", folder, target.zig_triple, target.zig_cpu, "-O1", *warnings)
    return (folder / "executor.o").read_bytes()


@pytest.mark.parametrize(("name", "make"), [("static.c", static_executor), ("symbolic.c", symbolic_executor)])
def test_text_is_the_golden_one(name: str, make, golden: GoldenFile) -> None:
    golden.check(name, make().emit())


@pytest.mark.parametrize("make", [static_executor, symbolic_executor])
def test_text_is_the_same_each_time(make) -> None:
    assert make().emit() == make().emit()


# The numbers of machines are e_machine of the ELF specification.
@pytest.mark.parametrize(("target", "machine"), [("x86-64-v2", 62), ("armv8-a", 183), ("arm-cortex-a7", 40)])
@pytest.mark.parametrize("make", [static_executor, symbolic_executor])
def test_text_compiles_without_a_warning(make, target: str, machine: int, tmp_path: Path) -> None:
    source = make()
    data = compile_executor(source, tmp_path, target)
    assert int.from_bytes(data[18:20], "little") == machine
    for call in source.plan.calls:
        assert f"__tvm_ffi_{call.kernel}\0".encode() in data


def test_any_name_compiles_and_arrives_unchanged(tmp_path: Path) -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        return bb.emit(relax.op.exp(x), f"node{STRANGE_NAME}")

    inputs = [tensor("x", (symbol(f"batch{STRANGE_NAME}"),))]
    data = compile_executor(executor(inputs, body, STRANGE_NAME, f"weights{STRANGE_NAME}"), tmp_path)
    for prefix in ("", "in0", "out0", "node", "batch", "weights"):
        assert f"{prefix}{STRANGE_NAME}\0".encode() in data


def test_external_weights_are_not_in_the_text() -> None:
    text = executor([tensor("x", (2, 4))], static_body, external="model.so.weights").emit()
    assert WEIGHTS_FILE not in text
    assert '.weights_file = "model.so.weights"' in text
    assert ".weights = NULL" in text


@pytest.mark.parametrize("external", [None, "model.so.weights"])
def test_digest_of_the_weights_is_in_the_text(external: str | None) -> None:
    text = executor([tensor("x", (2, 4))], static_body, external=external).emit()
    assert f".weights_sha256 = {{{', '.join(map(str, range(32)))}}}" in text


def test_model_without_kernels_compiles(tmp_path: Path) -> None:
    data = compile_executor(executor([tensor("x", (2, 4))], lambda bb, x: x), tmp_path)
    assert b"__tvm_ffi_" not in data
    assert b"lepton_" in data


def test_scalar_arguments_stand_in_their_place() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        return bb.emit(relax.op.zeros((x.ty.shape.values[0] * 2,), "float32"), "zeros")

    assert "{PASS_INT(symbol_0), PASS(tensors[0])}" in executor([tensor("x", (symbol("n"),))], body).emit()


def flipped(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    return bb.emit(relax.op.flip(x, 0), "flip")


@pytest.mark.parametrize(
    ("dtype", "code", "bits"),
    [
        ("float32", 2, 32),
        ("bool", 6, 8),
        ("bfloat16", 4, 16),
        ("uint8", 1, 8),
        ("int64", 0, 64),
        ("float8_e5m2", 12, 8),
    ],
)
def test_types_are_numbered_as_in_dlpack(dtype: str, code: int, bits: int) -> None:
    plan = plan_execution(legalized_module([tensor("x", (3,), dtype)], flipped), {})
    manifest = described(plan, "flip")
    text = ExecutorSource(plan, plan_memory((), ()), ConstantsPool((), 64, SHA256), manifest, 0, "weights").emit()
    assert f"TENSOR(frame->inputs[0], 1, {code}, {bits}, dims_0)" in text
