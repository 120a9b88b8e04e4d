"""Names of kernels: readable, valid in C, and the same for the same program."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

import tvm
import tvm_ffi
from tvm import relax

from lepton_compiler.core.lone_operators import kernel_of
from lepton_compiler.passes.main_graph import MainGraph, Replacement

_MAX_PARTS = 6


def base_name(name: str) -> str:
    """Name of the operator behind a kernel's name: ``conv2d3`` to ``conv2d``, ``tir_sqrt`` to ``sqrt``.

    TVM numbers equal names by appended digits; a digit that belongs to the operator is followed by a letter.
    """
    return re.sub(r"\d+$", "", re.sub(r"\W", "_", name)).removeprefix("tir_") or "kernel"


def fused_name(parts: list[str]) -> str:
    """``fused_conv2d_add_relu`` for the kernels of a group in order; long groups are cut short."""
    bases = [base_name(part) for part in parts]
    if len(bases) > _MAX_PARTS:
        bases = [*bases[: _MAX_PARTS - 1], f"and_{len(bases) - _MAX_PARTS + 1}_more"]
    return "fused_" + "_".join(bases)


def name_kernels(module: tvm.IRModule, bases: Mapping[str, str]) -> tvm.IRModule:
    """Numbers kernels in the order of their first call, lets equal ones share, and drops those never called.

    Args:
        module: A module whose ``main`` calls kernels by ``call_tir``.
        bases: Base name of a kernel by its present name; the others take ``base_name``.
    """
    kernels = _Kernels(module, bases)
    graph = MainGraph(module)
    for node in graph.nodes():
        kernel = kernel_of(node.value)
        if kernel is None:
            graph.keep(node)
            continue
        call = relax.Call(
            node.value.op, [kernels.renamed(kernel), *node.args[1:]], node.value.attrs, node.value.ty_args
        )
        graph.replace(node, Replacement(call, "renamed"))
    return kernels.module_with(graph.finish())


class _Kernels:
    """The renamed kernels of a module, in the order in which they were asked for."""

    def __init__(self, module: tvm.IRModule, bases: Mapping[str, str]) -> None:
        self._module = module
        self._bases = bases
        self._of_name: dict[str, tvm.ir.GlobalVar] = {}
        self._of_hash: dict[int, list[tuple[tvm.ir.GlobalVar, tvm.tirx.PrimFunc]]] = {}
        self._taken: set[str] = {"main"}
        self._count = Counter[str]()

    def renamed(self, old: tvm.ir.GlobalVar) -> tvm.ir.GlobalVar:
        """The new variable of a kernel."""
        if old.name_hint not in self._of_name:
            self._of_name[old.name_hint] = self._shared(old)
        return self._of_name[old.name_hint]

    def module_with(self, module: tvm.IRModule) -> tvm.IRModule:
        """``main`` of ``module`` with the renamed kernels."""
        functions = {module.get_global_var("main"): module["main"]}
        for entries in self._of_hash.values():
            functions.update(dict(entries))
        return tvm.IRModule(functions, attrs=module.attrs)

    def _shared(self, old: tvm.ir.GlobalVar) -> tvm.ir.GlobalVar:
        function = self._module[old].without_attr("global_symbol")
        entries = self._of_hash.setdefault(tvm_ffi.structural_hash(function), [])
        for var, known in entries:
            if tvm_ffi.structural_equal(known, function):
                return var
        var = tvm.ir.GlobalVar(self._fresh(self._bases.get(old.name_hint) or base_name(old.name_hint)))
        # A GlobalVar's type is set when a builder adds its function; there is no public way for one made by hand.
        relax.expr._update_type(var, old.ty)
        entries.append((var, function))
        return var

    def _fresh(self, base: str) -> str:
        name = base
        while name in self._taken:
            self._count[base] += 1
            name = f"{base}_{self._count[base]}"
        self._taken.add(name)
        return name
