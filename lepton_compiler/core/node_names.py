"""Names of bindings, and the model's nodes in them: ``conv1/1+conv1+relu1`` is two nodes."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What converters call the bindings of a node besides its last.
_INNER = re.compile(r"/(\d+|out\d+)\Z")


def parts_of(name: str) -> list[str]:
    """A fused name's parts: ``"conv1+relu1"`` are two bindings."""
    return name.split("+")


def node_of(part: str) -> str:
    """The node that a binding belongs to: ``conv1`` for ``conv1/1`` (the product without bias) and ``conv1/out1``."""
    return _INNER.sub("", part)


def nodes_of(name: str) -> str:
    """A fused name with every node once, as the model calls it."""
    return "+".join(dict.fromkeys(node_of(part) for part in parts_of(name)))


def with_nodes_named(sentence: str, parts: Iterable[str]) -> str:
    """A sentence of a pass with the model's nodes in place of ``parts``, the bindings that it may speak of."""
    for part in parts:
        if node_of(part) != part and part in sentence:
            sentence = re.sub(rf"(?<![\w/.]){re.escape(part)}(?![\w/])", lambda _, part=part: node_of(part), sentence)
    return sentence


def names_node(name: str, node: str) -> bool:
    """Whether ``node`` is one of the nodes of ``name``; an underscore stands for a dot where TVM named a binding."""
    wanted = node.replace(".", "_")
    return any(wanted in (part, node_of(part)) for part in parts_of(name.replace(".", "_")))
