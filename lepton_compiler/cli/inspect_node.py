"""``lepton inspect --why NODE``: what each pass did or declined on one node."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lepton_compiler.cli.model_argument import is_artifact
from lepton_compiler.cli.rendering import show_json, show_table
from lepton_compiler.core.errors import UserError
from lepton_compiler.core.node_names import names_node, node_of, nodes_of, parts_of, with_nodes_named
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
        kernels: Kernels that compute it.
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
        if not self.kernels:
            click.echo("no kernel is left that computes it")
        for kernel in self.kernels:
            click.echo(f"computed by kernel {kernel.name}, which is {kernel.nodes}")
            click.echo(f"scheduled as {kernel.schedule}")
            if kernel.tuning is not None:
                click.echo(str(kernel.tuning))
            if kernel.in_place:
                click.echo(f"result written {kernel.in_place}")


def explain_node(path: Path, node: str, options: CompileOptions) -> NodeExplanation:
    """Follows ``node`` through the passes: from an artifact's manifest, or by running the passes on an ONNX file.

    Raises:
        UserError: The model has no such node; the message names similar ones.
    """
    if is_artifact(path):
        from lepton_compiler.runtime.artifact_file import read_manifest

        manifest = read_manifest(path)
        return _explain(path, node, manifest.passes, manifest.kernels, None)
    from lepton_compiler.build.describe import kernel_entries, pass_entries
    from lepton_compiler.driver import optimize_model
    from lepton_compiler.frontend.load_model import load_model
    from lepton_compiler.frontend.operator_census import take_census

    model = load_model(path)
    nodes = [name for use in take_census(model.proto, model.opsets) for name in use.nodes]
    program = optimize_model(path, options)
    return _explain(path, node, pass_entries(program), kernel_entries(program.module), nodes)


def _explain(
    path: Path,
    node: str,
    passes: Sequence[PassEntry],
    kernels: Sequence[KernelEntry],
    model_nodes: Sequence[str] | None,
) -> NodeExplanation:
    """Events and kernels of one node; an artifact knows the model's nodes only from those two."""
    symbols = {kernel.name for kernel in kernels}
    parts = [part for kernel in kernels for part in parts_of(kernel.nodes)]
    parts += [part for entry in passes for name, _ in (*entry.rewrites, *entry.declines) for part in parts_of(name)]
    if model_nodes is None:
        model_nodes = [node_of(part) for part in parts if part not in symbols]
    _check_known(path, node, [*model_nodes, *parts], model_nodes)
    inner = sorted(set(parts) - set(model_nodes), key=len, reverse=True)
    mine = tuple(replace(k, nodes=nodes_of(k.nodes)) for k in kernels if names_node(k.nodes, node))
    return NodeExplanation(node, _events(passes, node, inner), tuple(dict.fromkeys(mine)))


def _events(passes: Iterable[PassEntry], node: str, inner: Sequence[str]) -> tuple[NodeEvent, ...]:
    """What was done or declined on the node; a sentence about several bindings of it comes once."""
    events = (
        NodeEvent(entry.name, entry.stage, did, with_nodes_named(sentence, inner))
        for entry in passes
        for did, pairs in ((True, entry.rewrites), (False, entry.declines))
        for name, sentence in pairs
        if names_node(name, node)
    )
    return tuple(dict.fromkeys(events))


def _check_known(path: Path, node: str, known: Sequence[str], suggested: Sequence[str]) -> None:
    if any(names_node(name, node) for name in known):
        return
    names = sorted(set(suggested))
    wanted = node.replace(".", "_").lower()
    near = sorted((name for name in names if wanted in name.replace(".", "_").lower()), key=len)
    near += [name for name in difflib.get_close_matches(node, names, n=_SUGGESTIONS, cutoff=0.4) if name not in near]
    hint = (
        f"did you mean: {', '.join(near[:_SUGGESTIONS])}"
        if near
        else '"lepton inspect MODEL.onnx --operators" lists all nodes'
    )
    raise UserError(f'{path} has no node "{node}"; {hint}')
