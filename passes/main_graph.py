"""MainGraph: ``main`` taken apart binding by binding and put together again under the same node names.

A pass walks ``nodes()`` in order. The arguments of a node are already those of the new function, so that a rule sees
what earlier rules made of its inputs. ``rewrite_main`` is that walk for passes which look at one node at a time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import tvm
from tvm import relax, tirx
from tvm.ir import GenericConst

from lepton_compiler.core.contracts import operator_name
from lepton_compiler.core.errors import InternalError
from lepton_compiler.core.lone_operators import OP_PATTERN_ATTRIBUTE, OpPattern
from lepton_compiler.core.pass_base import PassResult
from lepton_compiler.core.program import Decline, Rewrite
from lepton_compiler.passes.relax_expressions import same_type, substitute, variables


@dataclass(frozen=True)
class Node:
    """One binding of the old function: its variable, and its value with the new function's arguments.

    Attributes:
        var: The old variable.
        value: The value as the new function would compute it.
        binding: The binding as it stands in the old function.
    """

    var: relax.Var
    value: relax.Expr
    binding: relax.VarBinding

    @property
    def name(self) -> str:
        """The ONNX node's name."""
        return self.var.name

    @property
    def operator(self) -> str | None:
        """``"relax.nn.relu"`` for a call of that operator, None for anything else."""
        return operator_name(self.value)

    @property
    def args(self) -> tuple[relax.Expr, ...]:
        """Arguments of the call; empty for anything else."""
        return tuple(self.value.args) if isinstance(self.value, relax.Call) else ()


@dataclass(frozen=True)
class Replacement:
    """What a rule puts in a node's place.

    Attributes:
        value: A new call, or a variable or constant that stands for the node from here on.
        what: What was done, in one sentence.
        taken_in: Names of other nodes whose work the new value does; what was done is recorded on them, too.
        name: Name of the new binding, unless that is made of the node's own and those that it took in.
    """

    value: relax.Expr
    what: str
    taken_in: tuple[str, ...] = ()
    name: str | None = None

    def nodes_with(self, node: str) -> str:
        """The name of all nodes whose work the new value does in the place of ``node``."""
        return join_names(*self.taken_in, node)


class MainGraph:
    """The new ``main`` while it is being written, next to the old one.

    Args:
        module: A module whose ``main`` is a straight sequence of bindings.
    """

    def __init__(self, module: tvm.IRModule) -> None:
        self._module = module
        self._function: relax.Function = module["main"]
        self._builder = relax.BlockBuilder(module)
        self._new_of_old: dict[relax.Var, relax.Expr] = {}
        self._emitted: list[relax.Binding] = []
        self._definitions: dict[relax.Var, relax.Expr] = {}
        self._old_readers = Counter[relax.Var]()
        self._readers = Counter[relax.Var]()
        self._count_readers()

    @property
    def module(self) -> tvm.IRModule:
        """The old ``main`` with all kernels, those included that ``emit_te`` added."""
        return self._builder.get()

    def nodes(self) -> Iterator[Node]:
        """Every binding of the old function in order, except aliases and tuples, which are resolved on the way."""
        for binding in self._old_bindings():
            value = self._substitute(binding.value)
            if isinstance(binding, relax.MatchCast):
                self._cast(binding, value)
            elif _is_alias(binding):
                self._new_of_old[binding.var] = value
            elif isinstance(value, relax.Var | relax.Tuple | GenericConst | relax.ShapeExpr):
                self._map(binding.var, value)
            else:
                yield Node(binding.var, value, binding)

    def keep(self, node: Node) -> relax.Var:
        """Takes the node over as it is, with its new arguments."""
        binding = node.binding
        if not node.value.same_as(binding.value):
            binding = relax.VarBinding(relax.DataflowVar(node.name, node.var.ty), node.value)
        var = self._bind(binding, node.value)
        self._map(node.var, var)
        return var

    def replace(self, node: Node, replacement: Replacement) -> relax.Expr:
        """Puts ``replacement`` in the node's place.

        Raises:
            InternalError: The replacement is of another dtype or shape.
        """
        value = replacement.value
        if isinstance(value, relax.Call | relax.TupleGetItem):
            value = self.emit(replacement.name or replacement.nodes_with(node.name), value)
        if not same_type(value.ty, node.var.ty):
            raise InternalError(f"node {node.name} is of type {node.var.ty}, its replacement of type {value.ty}")
        self._map(node.var, value)
        return value

    def emit(self, name: str, value: relax.Expr) -> relax.Var:
        """Adds a binding to the new function and returns its variable."""
        value = self._builder.normalize(value)
        return self._bind(relax.VarBinding(relax.DataflowVar(name, value.ty), value), value)

    def add_kernel(self, kernel: tirx.PrimFunc, name: str) -> tvm.ir.GlobalVar:
        """Adds a kernel for new calls; the name gets a number where another has it."""
        return self._builder.add_func(kernel, name)

    def emit_te(
        self,
        name: str,
        kernel: str,
        function: Callable[..., object],
        *args: relax.Expr,
        pattern: OpPattern = OpPattern.ANCHOR,
        attrs: Mapping[str, str] | None = None,
    ) -> relax.Var:
        """Adds a call of the kernel that computes a tensor expression of ``args``.

        Args:
            name: Name of the new binding.
            kernel: Name of the kernel.
            function: Takes tensors and gives one back.
            args: Tensors of the new function.
            pattern: How the kernel fuses with others.
            attrs: More attributes of the kernel.
        """
        attributes = {OP_PATTERN_ATTRIBUTE: int(pattern), **(attrs or {})}
        call = self._builder.call_te(function, *args, primfunc_name_hint=kernel, primfunc_attrs=attributes)
        return self.emit(name, call)

    def definition(self, expr: relax.Expr) -> relax.Expr | None:
        """The value that a variable of the new function is bound to; None for inputs, constants and the rest."""
        return self._definitions.get(expr) if isinstance(expr, relax.Var) else None

    def current(self, old: relax.Var) -> relax.Expr:
        """What stands in the new function for a variable of the old one."""
        return self._new_of_old[old]

    def has(self, old: relax.Var) -> bool:
        """Whether a variable of the old function was bound there: it is no input."""
        return old in self._new_of_old

    def readers(self, expr: relax.Expr) -> int:
        """How often the old function reads what the new variable ``expr`` stands for; a model output counts once."""
        return self._readers[expr] if isinstance(expr, relax.Var) else 0

    def finish(self) -> tvm.IRModule:
        """The module with the new ``main``: one dataflow block, without bindings that no output needs."""
        output = self._substitute(self._function.body.body)
        outputs = set(variables(output))
        live = self._live(outputs)
        # Only the model's outputs may be seen outside of the dataflow block.
        final: dict[relax.Var, relax.Expr] = {
            binding.var: _variable(binding.var, visible=binding.var in outputs) for binding in live
        }
        blocks = [relax.DataflowBlock([_rebind(binding, final) for binding in live])] if live else []
        old = self._function
        body = relax.SeqExpr(blocks, substitute(output, final))
        function = relax.Function(old.params, body, old.ret_ty, old.is_pure, old.attrs)
        self._builder.update_func(self._module.get_global_var("main"), function)
        # Types of the rebuilt calls and of the body are filled in here.
        return relax.transform.Normalize()(self._builder.get())

    def _old_bindings(self) -> Iterator[relax.Binding]:
        for block in self._function.body.blocks:
            yield from block.bindings

    def _count_readers(self) -> None:
        self._old_readers.update(variables(self._function.body.body))
        for binding in reversed(list(self._old_bindings())):
            # Who reads an alias or a tuple reads what is behind it.
            times = self._old_readers[binding.var] if _is_alias(binding) else 1
            for var in variables(binding.value):
                self._old_readers[var] += times
        for param in self._function.params:
            self._readers[param] = self._old_readers[param]

    def _substitute(self, expr: relax.Expr) -> relax.Expr:
        return substitute(expr, self._new_of_old)

    def _map(self, old: relax.Var, new: relax.Expr) -> None:
        self._new_of_old[old] = new
        for var in variables(new):
            self._readers[var] += self._old_readers[old]

    def _bind(self, binding: relax.Binding, value: relax.Expr) -> relax.Var:
        self._emitted.append(binding)
        self._definitions[binding.var] = value
        return binding.var

    def _cast(self, binding: relax.MatchCast, value: relax.Expr) -> None:
        var = relax.DataflowVar(binding.var.name, binding.var.ty)
        self._map(binding.var, self._bind(relax.MatchCast(var, value, binding.ty), value))

    def _live(self, outputs: set[relax.Var]) -> list[relax.Binding]:
        needed = set(outputs)
        live = []
        for binding in reversed(self._emitted):
            # A cast may define a symbolic dimension that shapes after it use.
            if binding.var in needed or isinstance(binding, relax.MatchCast):
                needed.update(variables(binding.value))
                live.append(binding)
        return live[::-1]


def rewrite_main(module: tvm.IRModule, rule: Callable[[MainGraph, Node], Replacement | Decline | None]) -> PassResult:
    """Applies ``rule`` to every node of ``main`` once, in order, and records what it did or declined.

    The result holds the very same module where nothing was rewritten.
    """
    graph = MainGraph(module)
    rewrites: list[Rewrite] = []
    declines: list[Decline] = []
    for node in graph.nodes():
        outcome = rule(graph, node)
        if isinstance(outcome, Replacement):
            graph.replace(node, outcome)
            rewrites.append(Rewrite(outcome.nodes_with(node.name), outcome.what))
            continue
        if isinstance(outcome, Decline):
            declines.append(outcome)
        graph.keep(node)
    return PassResult(graph.finish() if rewrites else module, tuple(rewrites), tuple(declines))


def straighten(module: tvm.IRModule) -> tvm.IRModule:
    """The same ``main`` as one dataflow block, without aliases and without what no output needs."""
    graph = MainGraph(module)
    for node in graph.nodes():
        graph.keep(node)
    return graph.finish()


def join_names(*names: str) -> str:
    """``conv1+bn1+relu1``: the parts of all names in order, each once.

    Inner bindings of a node (``conv1/1``) go unnamed where the node itself is there: the model knows only that.
    """
    parts = dict.fromkeys(part for name in names for part in name.split("+"))
    return "+".join(part for part in parts if re.sub(r"/\d+$", "", part) not in parts or not re.search(r"/\d+$", part))


def _is_alias(binding: relax.Binding) -> bool:
    return isinstance(binding, relax.VarBinding) and isinstance(binding.value, relax.Var | relax.Tuple)


def _variable(var: relax.Var, visible: bool) -> relax.Var:
    """``var`` as a variable that is seen outside of its dataflow block, or not."""
    if isinstance(var, relax.DataflowVar) != visible:
        return var
    return relax.Var(var.name, var.ty) if visible else relax.DataflowVar(var.name, var.ty)


def _rebind(binding: relax.Binding, new_of_old: dict[relax.Var, relax.Expr]) -> relax.Binding:
    var = new_of_old[binding.var]
    value = substitute(binding.value, new_of_old)
    if value.same_as(binding.value) and var.same_as(binding.var):
        return binding
    if isinstance(binding, relax.MatchCast):
        return relax.MatchCast(var, value, binding.ty)
    return relax.VarBinding(var, value)
