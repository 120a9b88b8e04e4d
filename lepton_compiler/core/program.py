"""Program: the model between two steps of the compiler, and the record of what was done to it.

Conventions for ``module``, kept from import to build:

* One Relax function, ``main``, is the model. Its parameters are the model's inputs in order.
* ``main`` has the attributes ``input_names`` and ``output_names``: the ONNX names, in order.
* A binding's variable carries the name of the ONNX node that it came from (the first output's name where the node has
  none); a fused one joins them with ``+``. Messages, kernels and profiles take node names from there.
* Weights are constants, never parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import tvm

from lepton_compiler.core.node_names import names_node
from lepton_compiler.targets.spec import TargetSpec


class Stage(IntEnum):
    """How far a program has come; ``core/contracts.py`` says what holds at each."""

    IMPORTED = 1
    CANONICAL = 2
    SPARSE = 3
    QUANTIZED = 4
    ARRANGED = 5
    FUSED = 6
    LOWERED = 7
    SCHEDULED = 8
    BUILT = 9


@dataclass(frozen=True)
class Rewrite:
    """A pass changed something: on which node, and what it did in one sentence."""

    node: str
    what: str


@dataclass(frozen=True)
class Decline:
    """A pass looked at a node and left it alone, and why in one sentence."""

    node: str
    reason: str


@dataclass(frozen=True)
class PassRecord:
    """What one pass did to the program."""

    pass_name: str
    stage: Stage
    rewrites: tuple[Rewrite, ...] = ()
    declines: tuple[Decline, ...] = ()


@dataclass(frozen=True)
class ModelSource:
    """Where the program came from.

    Attributes:
        name: The file's name without folders.
        sha256: Hash of the model file, in hex; external data is not part of it.
        opset: Version of the default ONNX operator set.
        metadata: The model's own key-value metadata.
    """

    name: str
    sha256: str
    opset: int
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """A model on its way through the compiler; never changed, only replaced."""

    module: tvm.IRModule
    target: TargetSpec
    source: ModelSource
    stage: Stage = Stage.IMPORTED
    history: tuple[PassRecord, ...] = ()
    precision: str = "fp32"

    def records_of(self, node: str) -> list[tuple[PassRecord, Rewrite | Decline]]:
        """Everything that passes did or declined on ``node``, in order; fused nodes match by each of
        their parts, and a node by the bindings that it became."""
        return [
            (record, entry)
            for record in self.history
            for entry in (*record.rewrites, *record.declines)
            if names_node(entry.node, node)
        ]
