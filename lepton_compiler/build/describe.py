"""Fills the manifest: what the artifact says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tvm
from tvm import tirx

import lepton_compiler
from lepton_compiler.build.constants_pool import ConstantsPool
from lepton_compiler.build.dim_expressions import Size, to_text
from lepton_compiler.build.execution_plan import ExecutionPlan, KernelCall, Tensor
from lepton_compiler.build.kernel_work import UNKNOWN_WORK, CallWork, KernelWork
from lepton_compiler.build.plan_memory import TYPICAL_SYMBOL_VALUE, SlotLayout, StaticLayout
from lepton_compiler.build.toolchain import zig_version
from lepton_compiler.core.abi import DTYPES, MAX_RANK
from lepton_compiler.core.contracts import bindings, operator_name
from lepton_compiler.core.errors import UserError
from lepton_compiler.core.manifest import (
    FORMAT,
    KernelEntry,
    Manifest,
    MemoryEntry,
    ModelEntry,
    PassEntry,
    TargetEntry,
    TensorEntry,
    TuningEntry,
    WeightsEntry,
)
from lepton_compiler.core.options import CONVERT_PRECISION, CompileOptions
from lepton_compiler.core.program import Program
from lepton_compiler.targets.cpu.knobs import TUNED_ATTRIBUTE


def describe(
    program: Program,
    plan: ExecutionPlan,
    layout: StaticLayout | SlotLayout,
    constants: ConstantsPool,
    thread_workspace_bytes: int,
    external_weights: str | None,
    work: Mapping[str, KernelWork],
) -> Manifest:
    """The manifest of a planned program; ``work`` says how much each kernel has to do, by name.

    Raises:
        UserError: An input or output has a type or rank that artifacts can't exchange.
    """
    attrs = program.module["main"].attrs
    # A file name may hold bytes that are no UTF-8, which JSON has no place for.
    model_name = program.source.name.encode(errors="backslashreplace").decode()
    return Manifest(
        format=FORMAT,
        compiler_version=lepton_compiler.__version__,
        precision=_precision(program),
        versions={"tvm": tvm.__version__, "zig": zig_version()},
        model=ModelEntry(model_name, program.source.sha256, program.source.opset, dict(program.source.metadata)),
        target=TargetEntry(program.target.name, program.target.architecture.value, program.target.cpu_features),
        inputs=_entries(attrs["input_names"], plan.inputs),
        outputs=_entries(attrs["output_names"], plan.outputs),
        symbols=tuple(symbol.name for symbol in plan.symbols),
        weights=WeightsEntry(constants.size_bytes, external_weights, constants.sha256),
        memory=MemoryEntry(
            layout.arena_bytes,
            layout.lower_bound_bytes,
            thread_workspace_bytes,
            TYPICAL_SYMBOL_VALUE if isinstance(layout, SlotLayout) else None,
        ),
        kernels=_kernels(program.module, plan, work),
        passes=pass_entries(program),
    )


def _precision(program: Program) -> str:
    """The precision asked for where at least one product was converted to it, else the one that all of them kept."""
    converted = any(record.pass_name == CONVERT_PRECISION and record.rewrites for record in program.history)
    return program.precision if converted else CompileOptions.precision


def _entries(names: Sequence[str], tensors: Sequence[Tensor]) -> tuple[TensorEntry, ...]:
    entries = []
    for name, tensor in zip(names, tensors, strict=True):
        if tensor.dtype not in DTYPES:
            raise UserError(f'"{name}" has type {tensor.dtype}, which artifacts can\'t take or return')
        if len(tensor.shape) > MAX_RANK:
            raise UserError(f'"{name}" has {len(tensor.shape)} dimensions; artifacts take at most {MAX_RANK}')
        entries.append(TensorEntry(str(name), tensor.dtype, tuple(map(_dim_entry, tensor.shape))))
    return tuple(entries)


def _dim_entry(dim: Size) -> int | str:
    return dim if isinstance(dim, int) else to_text(dim)


def _kernels(module: tvm.IRModule, plan: ExecutionPlan, work: Mapping[str, KernelWork]) -> tuple[KernelEntry, ...]:
    functions: dict[str, tirx.PrimFunc] = {var.name_hint: function for var, function in module.functions.items()}
    return tuple(_kernel(call, functions[call.kernel], work.get(call.kernel)) for call in plan.calls)


def _kernel(call: KernelCall, function: tirx.PrimFunc, work: KernelWork | None) -> KernelEntry:
    amount: CallWork = UNKNOWN_WORK
    if work is not None:
        arguments = [item.shape if isinstance(item, Tensor) else item for item in call.arguments]
        amount = work.of_call(arguments)
    return KernelEntry(
        name=call.kernel,
        nodes=call.nodes,
        anchor=str(function.attrs["lepton.anchor"]),
        schedule=str(function.attrs["lepton.schedule"]),
        flops=_amount(amount.flops),
        bytes=_amount(amount.moved_bytes),
        operand_type=amount.operand_type,
        in_place=call.in_place,
        tuning=_tuning(function),
    )


def _tuning(function: tirx.PrimFunc) -> TuningEntry | None:
    attributes = function.attrs.get(TUNED_ATTRIBUTE)
    if attributes is None:
        return None
    return TuningEntry(str(attributes["record"]), float(attributes["gain"]), str(attributes["refusal"]))


def _amount(size: Size | None) -> int | str | None:
    return None if size is None else _dim_entry(size)


def kernel_entries(module: tvm.IRModule) -> tuple[KernelEntry, ...]:
    """The kernel calls of a SCHEDULED module, as its manifest will list them, without their work and places."""
    return tuple(
        KernelEntry(
            binding.value.args[0].name_hint,
            binding.var.name,
            str(module[binding.value.args[0]].attrs["lepton.anchor"]),
            str(module[binding.value.args[0]].attrs["lepton.schedule"]),
            flops=None,
            bytes=None,
            operand_type="",
            in_place="",
            tuning=_tuning(module[binding.value.args[0]]),
        )
        for binding in bindings(module)
        if operator_name(binding.value) == "relax.call_tir"
    )


def pass_entries(program: Program) -> tuple[PassEntry, ...]:
    """What passes did and declined, as the manifest lists it."""
    return tuple(
        PassEntry(
            record.pass_name,
            record.stage.name,
            tuple((entry.node, entry.what) for entry in record.rewrites),
            tuple((entry.node, entry.reason) for entry in record.declines),
        )
        for record in program.history
    )
