"""Lowers scheduled PrimFuncs and compiles them to one object file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import tvm
import tvm_ffi
from tvm import tirx

from lepton_compiler.build.in_place_results import allow_overwriting
from lepton_compiler.build.lift_workspaces import Workspace, lift_workspaces
from lepton_compiler.build.stack_buffers import keep_on_stack
from lepton_compiler.core.abi import ALIGNMENT, VALUE_ERROR
from lepton_compiler.core.errors import InternalError
from lepton_compiler.targets.cpu.bfloat16 import link_functions
from lepton_compiler.targets.spec import TargetSpec


@dataclass(frozen=True)
class Kernels:
    """Scheduled kernels, ready to be compiled, and the workspaces that each wants as arguments."""

    functions: Mapping[str, tirx.PrimFunc]
    workspaces: dict[str, tuple[Workspace, ...]]

    def overwriting(self, names: Collection[str]) -> Kernels:
        """The same kernels, of which those in ``names`` are told that parameters may share memory."""
        functions = {
            name: allow_overwriting(function) if name in names else function
            for name, function in self.functions.items()
        }
        return Kernels(functions, self.workspaces)


def collect_kernels(module: tvm.IRModule) -> Kernels:
    """Takes the PrimFuncs out of a SCHEDULED module and lifts their workspaces into parameters."""
    functions: dict[str, tirx.PrimFunc] = {}
    workspaces: dict[str, tuple[Workspace, ...]] = {}
    for var, function in module.functions.items():
        if isinstance(function, tirx.PrimFunc):
            name = var.name_hint
            lifted, workspaces[name] = lift_workspaces(function)
            functions[name] = lifted.with_attr("global_symbol", name)
    # The order of a module's functions is that of a hash table; the artifact's bytes must not depend on it.
    return Kernels({name: functions[name] for name in sorted(functions)}, workspaces)


def compile_kernels(kernels: Kernels, target: TargetSpec, object_file: Path) -> int:
    """Compiles every kernel into ``object_file``.

    Returns:
        Bytes of scratch that one thread may allocate inside a kernel at once, at the most.

    Raises:
        InternalError: The code generator failed.
        OSError: ``object_file`` can't be written.
    """
    # An empty prefix makes kernels call the runtime's functions by name, instead of through pointers that TVM's own
    # loader would have to fill.
    module = tvm.IRModule(dict(kernels.functions)).with_attr("system_lib_prefix", "")
    tvm_target = tvm.target.Target(target.llvm_target())
    try:
        with tvm.transform.PassContext(opt_level=3):
            lowered = _lower(module, tvm_target)
            code = tvm.get_global_func("target.build.llvm")(_without_argument_checks(lowered), tvm_target)
    except Exception as error:
        raise InternalError(f"code generation for {target.name} failed: {error}") from error
    _write_object(code, object_file)
    return max((_workspace_bytes(function) for function in lowered.functions.values()), default=0)


def _write_object(code: tvm.runtime.Module, object_file: Path) -> None:
    """Writes by way of memory: where LLVM itself meets a full disk, it ends the whole process."""
    with os.fdopen(os.memfd_create("kernels"), "rb") as memory:
        code.write_to_file(f"/proc/self/fd/{memory.fileno()}", "o")
        with object_file.open("wb") as file:
            shutil.copyfileobj(memory, file)


def _lower(module: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    pipeline, finalize_host, _ = tirx.get_default_tir_pipeline(target)
    module = tirx.transform.BindTarget(target.with_host(target))(module)
    return finalize_host()(keep_on_stack(link_functions(pipeline(module))))


def _without_argument_checks(lowered: tvm.IRModule) -> tvm.IRModule:
    """Drops the assertions that TVM adds, but not those that check what the caller passed.

    The executor passes what the planner computed; checking it again in every call costs time and code.
    """
    module = tirx.transform.SkipAssert()(lowered)
    for var, function in lowered.functions.items():
        kinds: set[str] = set()
        tvm_ffi.structural_walk(
            function.body, (tirx.AssertStmt, lambda check, found=kinds: found.add(check.error_kind.value))
        )
        if VALUE_ERROR in kinds:
            body = tvm_ffi.structural_map(function.body, (tirx.AssertStmt, _keep_value_check))
            module.update_func(module.get_global_var(var.name_hint), function.with_body(body))
    return module


def _keep_value_check(check: tirx.AssertStmt) -> tirx.Stmt:
    return check if check.error_kind.value == VALUE_ERROR else tirx.Evaluate(tirx.const(0, "int32"))


def _workspace_bytes(function: tirx.PrimFunc) -> int:
    """Sum of the constant sizes that a lowered kernel asks ``TVMBackendAllocWorkspace`` for; others go to the heap."""
    total = 0

    def visit(call: tvm.ir.Call) -> None:
        nonlocal total
        operator = getattr(call.op, "name", "")
        arguments = list(call.args)
        if operator == "tirx.call_extern" and getattr(arguments[0], "value", "") == "TVMBackendAllocWorkspace":
            arguments = arguments[1:]
        elif operator != "tirx.TVMBackendAllocWorkspace":
            return
        size = arguments[2]
        if isinstance(size, tirx.IntImm):
            total += -(-int(size) // ALIGNMENT) * ALIGNMENT + ALIGNMENT

    tvm_ffi.structural_walk(function.body, (tvm.ir.Call, visit))
    return total
