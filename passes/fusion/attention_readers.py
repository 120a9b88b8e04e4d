"""Which tensors attention kernels will read in place, before there are any such kernels."""

from __future__ import annotations

from collections.abc import Iterable

from tvm import relax

from lepton_compiler.passes.fusion.attention_pattern import (
    AttentionPattern,
    NotFusedError,
    is_second_product,
    recognise_attention,
)
from lepton_compiler.passes.main_graph import MainGraph, Node
from lepton_compiler.passes.relax_expressions import variables
from lepton_compiler.targets.spec import TargetSpec


class AttentionReaders:
    """Looks at every node of a graph while it is being written, and remembers the attentions.

    Args:
        target: The target of the kernels.
        max_scores: As ``FuseAttention`` has it.
    """

    def __init__(self, target: TargetSpec, max_scores: int) -> None:
        self._target = target
        self._max_scores = max_scores
        self._patterns: dict[relax.Var, AttentionPattern] = {}

    def note(self, graph: MainGraph, node: Node, var: relax.Var) -> None:
        """Takes in a node, and the variable that it became."""
        if is_second_product(graph, node):
            try:
                self._patterns[var] = recognise_attention(graph, node, self._target, self._max_scores)
            except NotFusedError:
                # FuseAttention will say so.
                return

    def written_out(self, graph: MainGraph, outputs: Iterable[relax.Var]) -> set[relax.Var]:
        """Every variable that is still needed once attentions are kernels which read their operands in place."""
        needed: set[relax.Var] = set()
        waiting = list(outputs)
        while waiting:
            var = waiting.pop()
            if var in needed:
                continue
            needed.add(var)
            waiting.extend(self._reads(graph, var))
        return needed

    def _reads(self, graph: MainGraph, var: relax.Var) -> Iterable[relax.Var]:
        pattern = self._patterns.get(var)
        if pattern is None:
            value = graph.definition(var)
            return [] if value is None else list(variables(value))
        read = [view.base for view in pattern.views]
        return [expr for expr in (*read, pattern.mask) if isinstance(expr, relax.Var)]
