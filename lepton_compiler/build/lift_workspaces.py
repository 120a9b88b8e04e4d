"""Lifts a kernel's large intermediate buffers into its parameters, so that the memory planner places them.

A fused PrimFunc may hold buffers that several of its loop nests share (padded inputs, for example). Left alone, each
would be allocated by the kernel at run time. As parameters they get a place in the arena for the length of one call.
Buffers that live inside one loop nest (register tiles, per-thread scratch) stay where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import tirx
from tvm.s_tir.stmt import SBlock, SBlockRealize

from lepton_compiler.build.dim_expressions import Size, bind_sizes, plain_shape, substitute
from lepton_compiler.core.errors import InternalError


@dataclass(frozen=True)
class Workspace:
    """A lifted buffer.

    Attributes:
        dtype: Element type.
        shape: Dimensions in the kernel's own symbols.
        parameters: The kernel's own parameters: buffers whose shapes bind those symbols, and scalars.
    """

    dtype: str
    shape: tuple[Size, ...]
    parameters: tuple[tirx.Var, ...]

    def shape_at(self, arguments: Sequence[Sequence[Size] | Size], kernel: str) -> tuple[Size, ...]:
        """The shape where the kernel is called with ``arguments``.

        Args:
            arguments: For each parameter the buffer's shape, or the scalar's value.
            kernel: Name for messages.

        Raises:
            InternalError: A dimension depends on something that no argument binds.
        """
        bound = bind_sizes(self.parameters, arguments)
        analyzer = tvm.sym.Analyzer()
        result: list[Size] = []
        for dim in self.shape:
            if isinstance(dim, int):
                result.append(dim)
                continue
            free = [var.name for var in _variables(dim) if var not in bound]
            if free:
                raise InternalError(
                    f"kernel {kernel}: a workspace's dimension {dim} depends on {free}, unknown outside"
                )
            result.append(analyzer.simplify(substitute(dim, bound)))
        return plain_shape(result)


def lift_workspaces(function: tirx.PrimFunc) -> tuple[tirx.PrimFunc, tuple[Workspace, ...]]:
    """Moves the buffers that several loop nests of ``function`` share into its parameters, behind the others.

    Returns:
        The function and its workspaces in order; the same function where there are none, or where its body is no
        block (a kernel written by hand, which allocates what it needs itself).
    """
    if not isinstance(function.body, SBlockRealize):
        return function, ()
    root = function.body.block
    nests = _statements(root.body)
    lifted = [buffer for buffer in root.alloc_buffers if _is_shared(buffer, nests)]
    if not lifted:
        return function, ()
    kept = [buffer for buffer in root.alloc_buffers if all(not buffer.same_as(other) for other in lifted)]
    block = SBlock(
        root.iter_vars,
        root.reads,
        root.writes,
        root.name_hint,
        root.body,
        root.init,
        kept,
        root.match_buffers,
        root.annotations,
    )
    body = SBlockRealize(function.body.iter_values, function.body.predicate, block)
    result = tirx.PrimFunc([*function.params, *lifted], body, function.ret_type, function.attrs)
    workspaces = tuple(
        Workspace(str(buffer.dtype), plain_shape(buffer.shape), tuple(function.params)) for buffer in lifted
    )
    return result, workspaces


def _statements(body: tirx.Stmt) -> list[tirx.Stmt]:
    return list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]


def _is_shared(buffer: tirx.Buffer, nests: list[tirx.Stmt]) -> bool:
    return sum(_uses(nest, buffer) for nest in nests) > 1


def _variables(dim: tirx.Expr) -> list[tirx.Var]:
    found: dict[tirx.Var, None] = {}
    tvm_ffi.structural_walk(dim, (tirx.Var, found.setdefault))
    return list(found)


def _uses(statement: tirx.Stmt, buffer: tirx.Buffer) -> bool:
    found = False

    def visit(var: tirx.Var) -> None:
        nonlocal found
        found = found or var.same_as(buffer)

    tvm_ffi.structural_walk(statement, (tirx.Var, visit))
    return found
