"""ConvertPrecision: operands of products become bfloat16, sums stay float32.

    conv(x, W)     ->  conv(widened(rounded(x)), round(W))
    matmul(x, W)   ->  matmul(widened(rounded(x)), round(W))

Everything else is computed in float32: softmax, norms, reductions, activations. What tensors are stored as in between
is ``storage_plan.py``'s to say. The scheme is that of Kalamkar et al., "A Study of BFLOAT16 for Deep Learning
Training", 2019: products of bfloat16, float32 sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import tvm
from tvm import relax

from lepton_compiler.core.contracts import operator_name
from lepton_compiler.core.errors import TargetError, UserError
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline, Rewrite
from lepton_compiler.passes.canonicalize.constant_arrays import array_of, constant
from lepton_compiler.passes.layout.packed_convolutions import ConvolutionPacker
from lepton_compiler.passes.lowering.legalize_convolutions import CONVOLUTIONS, is_depthwise
from lepton_compiler.passes.lowering.legalize_matmul import why_not_packed_dense
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, straighten
from lepton_compiler.passes.precision.bfloat16_tensors import emit_conversion, to_bfloat16, to_float32
from lepton_compiler.passes.precision.kept_products import is_named, products_of
from lepton_compiler.passes.precision.storage_plan import MOVES, plan_storage
from lepton_compiler.passes.relax_expressions import substitute, variables
from lepton_compiler.passes.winograd.choose_algorithm import WinogradPolicy
from lepton_compiler.targets.spec import TargetSpec


class Precision(Enum):
    """Element types of products and of what is stored between them; the value is what users type (``PRECISIONS``)."""

    FP32 = "fp32"
    BF16 = "bf16"
    MIXED = "mixed"


@dataclass(frozen=True)
class ConvertPrecision(Pass):
    """Compute convolutions and matrix products from bfloat16 operands, with float32 sums."""

    precision: Precision = Precision.FP32
    """``bf16`` also stores shared tensors as bfloat16; ``mixed`` rounds operands of products alone."""
    keep_fp32: tuple[str, ...] = ()
    """Nodes that stay float32: names with ``*``, or ``first`` and ``last`` for the outermost products."""
    winograd: WinogradPolicy = field(default_factory=WinogradPolicy)
    """Winograd's algorithms compute in float32; where they are faster, a convolution does."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Rounds the operands of every product that has a kernel for them; a decline says what kept one in float32."""
        if self.precision is Precision.FP32:
            return PassResult(module)
        if not target.has_bfloat16_dot:
            raise TargetError(
                f"{target.name} has no instruction for products of bfloat16, which precision {self.precision.value} is "
                'made of; "lepton targets" lists those that have'
            )
        module = straighten(module)
        candidates = products_of(module)
        self._check_patterns(candidates)
        reasons = {binding.var: self._why_not(binding, candidates, target) for binding in candidates}
        products = {var for var, reason in reasons.items() if reason is None}
        share = self.precision is Precision.BF16
        others = {binding.var for binding in candidates if is_depthwise_convolution(binding.value)} - products
        stored = plan_storage(module, products, others, share=share)
        rewriter = _Rewriter(MainGraph(module), products, stored)
        rewritten = rewriter.run() if products else module
        what = "operands rounded to bfloat16, sums in float32"
        return PassResult(
            rewritten,
            tuple(Rewrite(var.name, what) for var in reasons if var in products),
            tuple(Decline(var.name, f"stays float32: {reason}") for var, reason in reasons.items() if reason),
        )

    def _why_not(
        self, binding: relax.VarBinding, candidates: Sequence[relax.VarBinding], target: TargetSpec
    ) -> str | None:
        call = binding.value
        kept = self._kept_by(binding, candidates)
        if kept is not None:
            return f'it is kept by "{kept}"'
        if operator_name(call) in CONVOLUTIONS:
            return ConvolutionPacker(target, self.winograd).why_not_bfloat16(call)
        return _why_not_dense(call)

    def _check_patterns(self, candidates: Sequence[relax.VarBinding]) -> None:
        for pattern in self.keep_fp32:
            if not any(is_named(pattern, binding, candidates) for binding in candidates):
                products = ", ".join(binding.var.name for binding in candidates[:5])
                raise UserError(f'--keep-fp32 "{pattern}" names no product of this model; the first are {products}')

    def _kept_by(self, binding: relax.VarBinding, candidates: Sequence[relax.VarBinding]) -> str | None:
        return next((pattern for pattern in self.keep_fp32 if is_named(pattern, binding, candidates)), None)


def is_depthwise_convolution(value: relax.Expr) -> bool:
    """Whether a value is a convolution each of whose groups has one input channel."""
    return operator_name(value) in CONVOLUTIONS and is_depthwise(value)


def _why_not_dense(call: relax.Call) -> str | None:
    reason = why_not_packed_dense(call)
    if reason is not None:
        return reason
    inner = int(call.args[1].ty.shape[0])
    return f"{inner} elements of a sum are no pairs" if inner % 2 else None


class _Rewriter:
    """Writes the graph anew: products read rounded operands, stored tensors are rounded where they are computed."""

    def __init__(self, graph: MainGraph, products: set[relax.Var], planned: set[relax.Var]) -> None:
        self._graph = graph
        self._products = products
        self._planned = planned
        self._stored: dict[relax.Expr, relax.Var] = {}
        """What each variable is the widened form of."""
        self._rounded: dict[relax.Expr, relax.Var] = {}
        """The rounded form of variables that are not stored, for products alone."""

    def run(self) -> tvm.IRModule:
        """The module with the new ``main``."""
        for node in self._graph.nodes():
            if node.var in self._planned and node.operator in MOVES:
                moved = relax.Call(node.value.op, [self._all_stored(arg) for arg in node.args], node.value.attrs)
                self._replace(node, self._graph.emit(node.name, moved))
                continue
            computed = self._graph.emit(node.name, self._with_read_operands(node))
            if node.var in self._planned:
                self._replace(node, emit_conversion(self._graph, node.name, "round", computed))
            else:
                self._graph.replace(node, Replacement(computed, "computed in float32"))
        return self._graph.finish()

    def _replace(self, node: Node, stored: relax.Var) -> None:
        widened = emit_conversion(self._graph, node.name, "widen", stored)
        self._stored[widened] = stored
        self._graph.replace(node, Replacement(widened, "stored as bfloat16"))

    def _with_read_operands(self, node: Node) -> relax.Expr:
        if node.var not in self._products:
            # One conversion a reader, so that each fuses with its own.
            fresh = {var: self._widened(var) for var in variables(node.value) if var in self._stored}
            return substitute(node.value, fresh)
        data, weight, *rest = node.args
        array = array_of(weight)
        assert array is not None, "products of two variables stay float32"
        operands = [self._widened(data), constant(to_float32(to_bfloat16(array))), *rest]
        return relax.Call(node.value.op, operands, node.value.attrs)

    def _widened(self, expr: relax.Expr) -> relax.Var:
        stored = self._as_stored(expr)
        return emit_conversion(
            self._graph, stored.name if isinstance(stored, relax.Var) else "constant", "widen", stored
        )

    def _as_stored(self, expr: relax.Expr) -> relax.Expr:
        array = array_of(expr)
        if array is not None:
            return constant(to_bfloat16(array))
        if expr in self._stored:
            return self._stored[expr]
        if expr not in self._rounded:
            self._rounded[expr] = emit_conversion(self._graph, expr.name, "round", expr)
        return self._rounded[expr]

    def _all_stored(self, arg: relax.Expr) -> relax.Expr:
        """Tensors in their stored form; sizes, axes and the like as they are."""
        if isinstance(arg, relax.Tuple) and any(isinstance(field.ty, relax.TensorType) for field in arg.fields):
            return relax.Tuple([self._as_stored(field) for field in arg.fields])
        return self._as_stored(arg) if isinstance(arg.ty, relax.TensorType) else arg
