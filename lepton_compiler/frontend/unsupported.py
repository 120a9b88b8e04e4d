"""The one message that lists everything in a model that can't be imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_SHOWN_NODES = 3


@dataclass(frozen=True)
class Refusal:
    """One node that can't be imported, and why."""

    operator: str
    node: str
    reason: str


def describe_refusals(path: Path, refusals: list[Refusal]) -> str:
    """Groups refusals by operator and reason: count, the first nodes, the reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for refusal in refusals:
        groups.setdefault((refusal.operator, refusal.reason), []).append(refusal.node)
    operators = {operator for operator, _ in groups}
    lines = [
        f"{path} can't be imported: {len(refusals)} node{'s' * (len(refusals) != 1)} of {len(operators)} "
        f"operator{'s' * (len(operators) != 1)} can't be converted"
    ]
    lines += [
        f"  {operator} x{len(nodes)} ({_listed(nodes)}): {reason}" for (operator, reason), nodes in groups.items()
    ]
    lines.append(f'"lepton inspect {path}" lists all operators; docs/how_to/add_an_operator.md shows how to add one')
    return "\n".join(lines)


def _listed(nodes: list[str]) -> str:
    more = len(nodes) - _SHOWN_NODES
    return ", ".join(f"node {node}" for node in nodes[:_SHOWN_NODES]) + (f" and {more} more" if more > 0 else "")
