"""MergeProducts: products that read the same tensor become one, where that is estimated to take less time.

    add(matmul(x, W1), b1);  add(matmul(x, W2), b2)     ->     y = add(matmul(x, [W1 W2]), [b1 b2])
                                                               y[..., :n1];  y[..., n1:]

The attention kernel reads its parts of ``y``, queries, keys and values, in place, as strided views; every other reader
has its part copied. Either pays for narrow or small products only: one with 4 columns takes as long as one with a whole
vector of them, while products of whole vectors find their common input in a cache anyway.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import relax

from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline, Rewrite
from lepton_compiler.passes.canonicalize.constant_arrays import array_of, constant
from lepton_compiler.passes.fusion.attention_readers import AttentionReaders
from lepton_compiler.passes.fusion.fuse_attention import FuseAttention
from lepton_compiler.passes.fusion.merging_costs import ProductSize, apart_cycles, merged_cycles
from lepton_compiler.passes.fusion.product_groups import Product, find_groups, sole_weights
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, join_names, straighten
from lepton_compiler.passes.precision.convert_precision import Precision
from lepton_compiler.passes.precision.kept_products import is_named, products_of
from lepton_compiler.passes.relax_expressions import variables
from lepton_compiler.targets.spec import TargetSpec

_WORTH_IT = 0.95
"""A larger share is no gain: queries, keys and values of usual widths are estimated at 1.00 and were 0.5 % slower."""

_Group = tuple[Product, ...]


@dataclass(frozen=True)
class _Choice:
    """What is done with a group.

    Attributes:
        members: Those that are merged; none where that does not pay.
        share: Estimated cycles as a share of those of the products apart, of what is merged or else of all.
    """

    members: _Group
    share: float


@dataclass(frozen=True)
class MergeProducts(Pass):
    """Computes matrix products of the same tensor as one where that is estimated to be faster."""

    enabled: bool = True
    """Whether at all."""
    attention: FuseAttention | None = field(default_factory=FuseAttention)
    """The pass that will make kernels of attentions, None where it is left out."""
    precision: Precision = Precision.FP32
    """What ``ConvertPrecision`` will compute products in."""
    keep_fp32: tuple[str, ...] = ()
    """Products that it will leave in float32; they are not merged with others."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Merges all products that it may for a try, to see who reads in place, and then those for which it pays."""
        straight = straighten(module)
        groups = find_groups(straight)
        if not self.enabled:
            return PassResult(module, (), _declines(groups, "merging of products is switched off"))
        history = _History()
        candidates = list(self._candidates(straight, groups, history))
        copied = self._copied(straight, candidates, target)
        chosen: list[_Group] = []
        for group in candidates:
            choice = self._choose(group, copied, target)
            history.add(group, choice, copied)
            if choice.members:
                chosen.append(choice.members)
        merged = _merge(straight, chosen)[0].finish() if chosen else module
        return PassResult(merged, tuple(history.rewrites), tuple(history.declines))

    def _candidates(self, module: tvm.IRModule, groups: Sequence[_Group], history: _History) -> Iterator[_Group]:
        """The groups whose members may become one product, whatever it costs."""
        kept_by = self._kept_by(module)
        sole = sole_weights(module, groups)
        for group in groups:
            alike: dict[Hashable, list[Product]] = defaultdict(list)
            for product in group:
                if product in sole:
                    alike[kept_by(product)].append(product)
                else:
                    history.decline(product, group, "its weight is read by others, too, and would be there twice")
            for members in alike.values():
                if len(members) > 1:
                    yield tuple(members)
                elif len(alike) > 1:
                    history.decline(members[0], group, "--keep-fp32 gives it another precision")
                else:
                    history.decline(members[0], group, "the others' weights are read by more nodes")

    def _kept_by(self, module: tvm.IRModule) -> Callable[[Product], Hashable]:
        """The patterns of ``keep_fp32`` that name a product."""
        # Attentions' products of two variables are kernels by the time that the precision is chosen.
        products = [product for product in products_of(module) if array_of(product.value.args[1]) is not None]
        patterns = () if self.precision is Precision.FP32 else self.keep_fp32
        return lambda product: tuple(p for p in patterns if is_named(p, product.matmul, products))

    def _copied(self, module: tvm.IRModule, groups: Sequence[_Group], target: TargetSpec) -> set[Product]:
        """The members whose part of the joined result has to be copied, because not all readers find it in place."""
        if self.attention is None:
            return {product for group in groups for product in group}
        readers = AttentionReaders(target, self.attention.max_scores)
        graph, parts = _merge(module, groups, readers.note)
        outputs = [graph.current(var) for var in variables(module["main"].body.body) if graph.has(var)]
        written = readers.written_out(graph, [var for var in outputs if isinstance(var, relax.Var)])
        return {product for product, part in parts.items() if part in written}

    def _choose(self, group: _Group, copied: Collection[Product], target: TargetSpec) -> _Choice:
        """The members that are merged: those that are read in place, then narrow ones, as many as gain the most."""
        size = self._size(group[0], target)
        ranked = sorted(group, key=lambda product: (product in copied, product.columns))
        options: list[tuple[float, _Choice]] = []
        share = 1.0
        for count in range(2, len(group) + 1):
            members = tuple(product for product in group if product in ranked[:count])
            copies = [product.columns for product in members if product in copied]
            columns = [product.columns for product in members]
            apart = apart_cycles(target, size, columns)
            merged = merged_cycles(target, size, columns, copies)
            share = merged / apart
            if share <= _WORTH_IT:
                options.append((apart - merged, _Choice(members, share)))
        return max(options, key=lambda option: option[0])[1] if options else _Choice((), share)

    def _size(self, product: Product, target: TargetSpec) -> ProductSize:
        inner = product.weight.shape[0]
        if self.precision is Precision.FP32 or not target.has_bfloat16_dot or inner % 2:
            return ProductSize(product.rows, inner)
        return ProductSize(product.rows, inner, weight_bytes=2, steps=inner // 2)


class _History:
    """What was merged, and what was not and why."""

    def __init__(self) -> None:
        self.rewrites: list[Rewrite] = []
        self.declines: list[Decline] = []

    def decline(self, product: Product, group: _Group, reason: str) -> None:
        """A product is not merged with the others of a group."""
        self.declines.append(Decline(product.name, f"not merged with {_others(product, group)}: {reason}"))

    def add(self, group: _Group, choice: _Choice, copied: Collection[Product]) -> None:
        """What was chosen for a group."""
        count = sum(product in copied for product in choice.members or group)
        parts = "no part is copied" if count == 0 else f"{count} of {len(choice.members or group)} parts are copied"
        estimate = f"estimated {choice.share:.2f} of the cycles of the products apart; {parts}"
        columns = sum(product.columns for product in choice.members)
        for product in group:
            if product in choice.members:
                others = _others(product, choice.members)
                what = f"merged with {others} into one product of {columns} columns: {estimate}"
                self.rewrites.append(Rewrite(product.name, what))
            elif choice.members:
                self.decline(product, group, "its part would be copied, which takes longer than a product of its own")
            else:
                self.decline(product, group, estimate)


def _merge(
    module: tvm.IRModule,
    groups: Sequence[_Group],
    note: Callable[[MainGraph, Node, relax.Var], None] = lambda graph, node, var: None,
) -> tuple[MainGraph, dict[Product, relax.Expr]]:
    """The graph with every group as one product, and each member's part of it; ``note`` sees all kept nodes."""
    first = {group[0].matmul.var: group for group in groups}
    place = {product.result.var: (group, i) for group in groups for i, product in enumerate(group)}
    joined: dict[_Group, relax.Var] = {}
    parts: dict[Product, relax.Expr] = {}
    graph = MainGraph(module)
    for node in graph.nodes():
        if node.var in first:
            joined[first[node.var]] = _emit_joined(graph, node, first[node.var])
        if node.var in place:
            group, index = place[node.var]
            begin = sum(product.columns for product in group[:index])
            part = _part(joined[group], begin, group[index].columns)
            parts[group[index]] = graph.replace(node, Replacement(part, "a part of the joined product"))
        else:
            note(graph, node, graph.keep(node))
    return graph, parts


def _emit_joined(graph: MainGraph, node: Node, group: _Group) -> relax.Var:
    """The joined product behind the tensor that ``node``, its first member, reads."""
    name = join_names(*(member.matmul.var.name for member in group))
    weight = constant(np.concatenate([product.weight for product in group], axis=1))
    product = graph.emit(name, relax.Call(node.value.op, [node.args[0], weight], node.value.attrs))
    if all(member.bias is None for member in group):
        return product
    biases = [np.zeros(member.columns, np.float32) if member.bias is None else member.bias for member in group]
    name = join_names(*(member.result.var.name for member in group))
    return graph.emit(name, relax.op.add(product, constant(np.concatenate(biases))))


def _part(joined: relax.Var, begin: int, columns: int) -> relax.Expr:
    return relax.op.strided_slice(joined, [joined.ty.ndim - 1], [begin], [begin + columns], [1], assume_inbound=True)


def _others(product: Product, group: _Group) -> str:
    names = [other.result.var.name for other in group if other is not product]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} others" if len(names) > 3 else "")


def _declines(groups: Sequence[_Group], reason: str) -> tuple[Decline, ...]:
    history = _History()
    for group in groups:
        for product in group:
            history.decline(product, group, reason)
    return tuple(history.declines)
