"""Whether a compiled program still computes something: an import that folded it all away proves nothing."""

from __future__ import annotations

import tvm
from tvm import relax


def folded_outputs(module: tvm.IRModule) -> list[str]:
    """Names of all outputs if none of them is computed by a kernel although the model has inputs, else nothing.

    A kernel computes if it reads something that follows from an input, or if it reads no tensor at all (it makes its
    values itself, as those of ``EyeLike`` and ``Range`` do). One that reads constants alone copies what was folded.
    """
    function = module["main"]
    if not function.params:
        return []
    living: set[relax.Var] = set(function.params)
    for block in function.body.blocks:
        for binding in block.bindings:
            if _computes(binding.value, living):
                living.add(binding.var)
    if any(var in living for var in relax.analysis.free_vars(function.body.body)):
        return []
    return [str(name) for name in function.attrs["output_names"]]


def _computes(value: relax.Expr, living: set[relax.Var]) -> bool:
    if any(var in living for var in relax.analysis.free_vars(value)):
        return True
    is_kernel_call = isinstance(value, relax.Call) and getattr(value.op, "name", "") == "relax.call_tir"
    return is_kernel_call and not value.args[1].fields
