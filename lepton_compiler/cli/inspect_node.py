"""``lepton inspect --why NODE``: what each pass did or declined on one node."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lepton_compiler.cli.model_argument import is_artifact
from lepton_compiler.cli.rendering import show_json, show_table
from lepton_compiler.core.errors import UserError
from lepton_compiler.core.options import CompileOptions

if TYPE_CHECKING:
    from lepton_compiler.core.manifest import KernelEntry, PassEntry

_SUGGESTIONS = 5


@dataclass(frozen=True)
class NodeEvent:
    """A pass changed the node, or looked at it and declined."""

    pass_name: str
    stage: str
    did: bool
    sentence: str


@dataclass(frozen=True)
class NodeExplanation:
    """What happened to one node.

    Attributes:
        node: Its name.
        events: What passes did and declined there, in order.
        kernels: Kernels that compute it; empty where only the passes were looked at.
    """

    node: str
    events: tuple[NodeEvent, ...]
    kernels: tuple[KernelEntry, ...]

    def show(self, as_json: bool) -> None:
        """Prints it."""
        if as_json:
            show_json(self)
            return
        rows = [(e.pass_name, e.stage, "did" if e.did else "declined", e.sentence) for e in self.events]
        if rows:
            show_table(self.node, ("pass", "stage", "", "what or why"), rows)
        else:
            click.echo(f"{self.node}: no pass did or declined anything here")
        for kernel in self.kernels:
            click.echo(f"computed by kernel {kernel.name}, which is {kernel.nodes}")
            click.echo(f"scheduled as {kernel.schedule}")


def explain_node(path: Path, node: str, options: CompileOptions) -> NodeExplanation:
    """Follows ``node`` through the passes: from an artifact's manifest, or by running the passes on an ONNX file.

    Raises:
        UserError: The model has no such node; the message names similar ones.
    """
    if is_artifact(path):
        from lepton_compiler.runtime.artifact_file import read_manifest

        manifest = read_manifest(path)
        known = [part for kernel in manifest.kernels for part in parts_of(kernel.nodes)]
        known += _nodes_of(manifest.passes)
        _check_known(path, node, known)
        kernels = tuple(kernel for kernel in manifest.kernels if _names(kernel.nodes, node))
        return NodeExplanation(node, _events(manifest.passes, node), kernels)
    from lepton_compiler.core.manifest import PassEntry
    from lepton_compiler.driver import optimize_model
    from lepton_compiler.frontend.load_model import load_model
    from lepton_compiler.frontend.operator_census import take_census

    model = load_model(path)
    known = [name for use in take_census(model.proto, model.opsets) for name in use.nodes]
    history = optimize_model(path, options).history
    passes = [
        PassEntry(
            record.pass_name,
            record.stage.name,
            tuple((entry.node, entry.what) for entry in record.rewrites),
            tuple((entry.node, entry.reason) for entry in record.declines),
        )
        for record in history
    ]
    _check_known(path, node, [*known, *_nodes_of(passes)])
    return NodeExplanation(node, _events(passes, node), ())


def parts_of(nodes: str) -> list[str]:
    """A fused name's parts: ``"conv1+relu1"`` are two nodes."""
    return nodes.split("+")


def _names(nodes: str, node: str) -> bool:
    """Whether ``node`` is one of ``nodes``; TVM's builder writes an underscore for a dot in names."""
    return node.replace(".", "_") in parts_of(nodes.replace(".", "_"))


def _nodes_of(passes: Sequence[PassEntry]) -> list[str]:
    return [part for entry in passes for name, _ in (*entry.rewrites, *entry.declines) for part in parts_of(name)]


def _events(passes: Iterable[PassEntry], node: str) -> tuple[NodeEvent, ...]:
    return tuple(
        NodeEvent(entry.name, entry.stage, did, sentence)
        for entry in passes
        for did, pairs in ((True, entry.rewrites), (False, entry.declines))
        for name, sentence in pairs
        if _names(name, node)
    )


def _check_known(path: Path, node: str, known: Sequence[str]) -> None:
    if any(_names(name, node) for name in known):
        return
    names = sorted(set(known))
    wanted = node.replace(".", "_").lower()
    near = sorted((name for name in names if wanted in name.replace(".", "_").lower()), key=len)
    near += [name for name in difflib.get_close_matches(node, names, n=_SUGGESTIONS, cutoff=0.4) if name not in near]
    hint = (
        f"did you mean: {', '.join(near[:_SUGGESTIONS])}"
        if near
        else '"lepton inspect MODEL.onnx --operators" lists all nodes'
    )
    raise UserError(f'{path} has no node "{node}"; {hint}')
