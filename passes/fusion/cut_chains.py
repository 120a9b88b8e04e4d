"""Chains of elementary functions are cut into kernels, each of which compiles in seconds.

    t1 = tanh(x); t2 = tanh(t1); t3 = tanh(t2); t4 = tanh(t3)   ->   t4 is a kernel of its own

TVM's code generator writes out what each name stands for while it proves bounds, so the time for functions of functions
grows with the power of their depth: three tanh in one kernel take 0.4 s, four take 4 s, five more than 90 s.
"""

from __future__ import annotations

import tvm
from tvm import relax, tirx
from tvm.ir import Call
from tvm_ffi import structural_walk

from lepton_compiler.core.lone_operators import OP_PATTERN_ATTRIBUTE, OpPattern, kernel_of, pattern_of
from lepton_compiler.core.program import Decline
from lepton_compiler.passes.main_graph import MainGraph, Replacement

_MOST_FUNCTIONS = 3
"""Elementary functions of one another in one kernel."""
_REASON = f"a kernel computes at most {_MOST_FUNCTIONS} elementary functions of one another, or it compiles for minutes"
_WEIGHTS = {"tirx.exp": 1, "tirx.tanh": 1, "tirx.sigmoid": 1, "tirx.erf": 2}
"""How many functions each counts for; the result of erf is compared before it is used."""


def cut_chains(module: tvm.IRModule) -> tuple[tvm.IRModule, tuple[Decline, ...]]:
    """Marks the kernels that may not join the chain before them as opaque, which no fusion crosses.

    Returns:
        The module, and which nodes stay alone and why.
    """
    graph = MainGraph(module)
    depths: dict[relax.Var, int] = {}
    declines = []
    for node in graph.nodes():
        kernel, pattern = kernel_of(node.value), pattern_of(module, node.value)
        if kernel is None or pattern is None:
            graph.keep(node)
            continue
        own = _functions(module[kernel])
        before = max((depths.get(var, 0) for var in relax.analysis.free_vars(node.binding.value)), default=0)
        if pattern < OpPattern.ANCHOR and own > 0 and before > 0 and before + own > _MOST_FUNCTIONS:
            apart = module[kernel].with_attr(OP_PATTERN_ATTRIBUTE, int(OpPattern.OPAQUE))
            arguments = [graph.add_kernel(apart, kernel.name_hint), *node.value.args[1:]]
            call = relax.Call(node.value.op, arguments, node.value.attrs, node.value.ty_args)
            graph.replace(node, Replacement(call, "cut"))
            declines.append(Decline(node.name, _REASON))
            continue
        graph.keep(node)
        depths[node.var] = before + own if pattern < OpPattern.ANCHOR else 0
    return graph.finish(), tuple(declines)


def _functions(kernel: tirx.PrimFunc) -> int:
    """Elementary functions of one another in a kernel, at the most: all that it calls."""
    calls: list[Call] = []
    structural_walk(kernel.body, (Call, calls.append))
    return sum(_WEIGHTS.get(getattr(call.op, "name", ""), 0) for call in calls)
