"""Which sentences of the passes say why a kernel is computed the way it is, by their names and wording.

Profiles read them from an artifact's manifest, where the passes themselves, and TVM, may not be installed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lepton_compiler.core.manifest import KernelEntry, PassEntry
from lepton_compiler.core.node_names import node_of, parts_of, with_nodes_named

STAYS_PACKED = "stays packed"
"""What ``pack-activations`` says of every operator that follows a convolution without a choice of its own."""

_OF_NODES = ("fuse-attention", "convert-precision", "pack-activations", "legalize-operators")
"""Passes that choose an algorithm, an element type or a layout, and name the model's nodes."""
_OF_KERNELS = "schedule-functions"
"""Names kernels; what it declined is a schedule."""


@dataclass(frozen=True)
class Decision:
    """One sentence on a kernel.

    Attributes:
        pass_name: Who decided.
        did: Whether it did something, or declined to.
        sentence: What, or why not.
    """

    pass_name: str
    did: bool
    sentence: str


def decisions(kernel: KernelEntry, passes: Iterable[PassEntry]) -> tuple[Decision, ...]:
    """What passes decided about a kernel or the nodes that it computes, in order, each sentence once."""
    bindings = parts_of(kernel.nodes)
    nodes = {node_of(part) for part in bindings}
    found = []
    for entry in passes:
        for did, pairs in ((True, entry.rewrites), (False, entry.declines)):
            for name, sentence in pairs:
                if _is_about(entry.name, did, name, kernel.name, nodes):
                    found.append(Decision(entry.name, did, with_nodes_named(sentence, bindings)))
    chosen = [decision for decision in found if decision.sentence != STAYS_PACKED]
    return tuple(dict.fromkeys(chosen or found))


def _is_about(pass_name: str, did: bool, name: str, kernel: str, nodes: set[str]) -> bool:
    if pass_name == _OF_KERNELS:
        return not did and name == kernel
    return pass_name in _OF_NODES and any(node_of(part) in nodes for part in parts_of(name))
