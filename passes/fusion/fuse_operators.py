"""FuseOperators: an anchor and the elementwise operators behind it become one kernel.

    c = conv2d(x, w); b = add(c, bias); r = relu(b)   ->   r = fused_conv2d_add_relu(x, w, bias)

Grouping is Relax's ``FuseOps`` (post-dominator fusion, as in Chen et al., "TVM", OSDI 2018, section 3), which needs the
``op_pattern`` that ``LegalizeOperators`` leaves on every kernel. ``FuseTIR`` then merges each group's kernels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tvm
from tvm import relax, tirx

from lepton_compiler.core.contracts import bindings
from lepton_compiler.core.lone_operators import OP_PATTERN_ATTRIBUTE, kernel_of, lone_operators, pattern_of
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline, Rewrite
from lepton_compiler.passes.fusion.cut_chains import cut_chains
from lepton_compiler.passes.fusion.kernel_names import fused_name, name_kernels
from lepton_compiler.passes.fusion.node_tracing import NodeTracer
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, straighten
from lepton_compiler.targets.spec import TargetSpec


@dataclass(frozen=True)
class _Group:
    """What ``FuseOps`` put together: its kernels in order, and the pattern of the whole."""

    kernels: list[str]
    pattern: int


@dataclass(frozen=True)
class FuseOperators(Pass):
    """Fuses bias, activation and residual additions into the kernel of the convolution or matmul before them."""

    required: ClassVar[bool] = True

    max_operators: int = 256
    """Most operators in one kernel."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Groups, names and merges; the module's kernels must carry ``op_pattern``."""
        module, cuts = cut_chains(straighten(module))
        with tvm.transform.PassContext(config={"relax.FuseOps.max_depth": self.max_operators}):
            grouped = relax.transform.FuseOps()(module)
        groups = _groups(grouped)
        grouped = _name_group_calls(grouped, NodeTracer(module).group_names(grouped))
        merged = _set_patterns(_merge_kernels(grouped, set(groups)), groups)
        named = name_kernels(merged, {name: fused_name(group.kernels) for name, group in groups.items()})
        return PassResult(named, _rewrites(named), (*cuts, *_declines(named)))


def _groups(module: tvm.IRModule) -> dict[str, _Group]:
    groups = {}
    for var, function in module.functions.items():
        if isinstance(function, relax.Function) and "Primitive" in (function.attrs or {}):
            values = [binding.value for block in function.body.blocks for binding in block.bindings]
            kernels = [kernel.name_hint for value in values if (kernel := kernel_of(value)) is not None]
            patterns = [pattern for value in values if (pattern := pattern_of(module, value)) is not None]
            groups[var.name_hint] = _Group(kernels, max(patterns))
    return groups


def _name_group_calls(module: tvm.IRModule, names: dict[relax.Var, str]) -> tvm.IRModule:
    graph = MainGraph(module)
    for node in graph.nodes():
        if node.var in names:
            graph.replace(node, Replacement(node.value, "named", name=names[node.var]))
        else:
            graph.keep(node)
    return graph.finish()


def _merge_kernels(grouped: tvm.IRModule, groups: set[str]) -> tvm.IRModule:
    """One kernel for each group.

    ``FuseTIR`` gives the kernels and how each is called. Its ``main`` is not used: it forgets ``MatchCast``, which is
    what makes a run check sizes that the model takes to be equal.
    """
    merged = relax.transform.FuseTIR()(grouped)
    calls = (binding.value for binding in bindings(merged) if _kernel_name(binding.value) in groups)
    graph = MainGraph(grouped)
    for node in graph.nodes():
        if isinstance(node.value, relax.Call) and isinstance(node.value.op, tvm.ir.GlobalVar):
            call = next(calls)
            arguments = relax.Tuple(_arguments(node, call))
            ty = node.var.ty
            graph.replace(node, Replacement(relax.Call(call.op, [call.args[0], arguments], call.attrs, [ty]), "merged"))
        else:
            graph.keep(node)
    kernels = {var: function for var, function in merged.functions.items() if isinstance(function, tirx.PrimFunc)}
    main = graph.finish()["main"]
    return tvm.IRModule({merged.get_global_var("main"): main, **kernels}, attrs=merged.attrs)


def _kernel_name(value: relax.Expr) -> str | None:
    kernel = kernel_of(value)
    return None if kernel is None else kernel.name_hint


def _arguments(node: Node, call: relax.Call) -> list[relax.Expr]:
    """The arguments of a group's call in the order of its kernel: tensors one by one, and the sizes that it needs."""
    tensors = iter([tensor for arg in node.args for tensor in _tensors(arg)])
    return [arg if isinstance(arg.ty, tvm.ir.PrimType) else next(tensors) for arg in call.args[1].fields]


def _tensors(expr: relax.Expr) -> list[relax.Expr]:
    if isinstance(expr, relax.Tuple):
        return [tensor for field in expr.fields for tensor in _tensors(field)]
    if isinstance(expr.ty, relax.TupleType):
        return [relax.TupleGetItem(expr, index) for index in range(len(expr.ty.fields))]
    return [expr] if isinstance(expr.ty, relax.TensorType) else []


def _set_patterns(module: tvm.IRModule, groups: dict[str, _Group]) -> tvm.IRModule:
    updated = {
        var: function.with_attr(OP_PATTERN_ATTRIBUTE, groups[var.name_hint].pattern)
        if var.name_hint in groups
        else function
        for var, function in module.functions.items()
    }
    return tvm.IRModule(updated, attrs=module.attrs)


def _rewrites(module: tvm.IRModule) -> tuple[Rewrite, ...]:
    return tuple(
        Rewrite(binding.var.name, f"fused into kernel {kernel.name_hint}")
        for binding in bindings(module)
        if (kernel := kernel_of(binding.value)) is not None and kernel.name_hint.startswith("fused_")
    )


def _declines(module: tvm.IRModule) -> tuple[Decline, ...]:
    return tuple(
        Decline(lone.node, lone.reason or f"nothing keeps it from the kernel of {lone.anchor}, but TVM did not fuse it")
        for lone in lone_operators(module)
    )
