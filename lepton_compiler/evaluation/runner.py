"""Runner: one way to execute a model, so that Lepton and its peers are compared and timed by the same code."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lepton_compiler.core.errors import LeptonError, MissingExtraError, UserError

Feed = Mapping[str, np.ndarray]
"""Input tensors by name."""


class Runner(Protocol):
    """A model, loaded and ready to run again and again."""

    name: str
    version: str

    def run(self, feed: Feed) -> dict[str, np.ndarray]:
        """Outputs by name, in the model's order."""
        ...

    def close(self) -> None:
        """Gives threads and memory back."""
        ...


@dataclass(frozen=True)
class Peer:
    """Another way to run ONNX files.

    Attributes:
        name: What users type after ``--against``.
        package: Name of its distribution on PyPI.
        module: Module that is imported.
        extra: Extra of this project that brings it; empty where it is a plain dependency.
        runner: Module and class of its runner.
        what: What exactly is timed.
        is_rival: Whether one would use it instead of Lepton.
        precision: What it computes in, one of ``PRECISIONS``.
    """

    name: str
    package: str
    module: str
    extra: str
    runner: tuple[str, str]
    what: str
    is_rival: bool = True
    precision: str = "fp32"

    def is_installed(self) -> bool:
        """Whether its module is there; does not import it."""
        return importlib.util.find_spec(self.module) is not None

    def version(self) -> str | None:
        """Version of the installed package, None where it is missing."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None


REFERENCE_PEER = "onnxruntime"
"""The peer whose outputs are the right ones."""

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(
            "onnxruntime",
            "onnxruntime",
            "onnxruntime",
            "peers",
            ("lepton_compiler.evaluation.onnxruntime_runner", "OnnxRuntimeRunner"),
            "CPU provider, all graph optimizations, sequential execution, threads spin only inside a run",
        ),
        Peer(
            "openvino",
            "openvino",
            "openvino",
            "peers",
            ("lepton_compiler.evaluation.openvino_runner", "OpenVinoRunner"),
            "CPU device, latency hint, one stream, float32 arithmetic",
        ),
        Peer(
            "openvino-bf16",
            "openvino",
            "openvino",
            "peers",
            ("lepton_compiler.evaluation.openvino_runner", "OpenVinoBfloat16Runner"),
            "CPU device, latency hint, one stream, bfloat16 arithmetic where the processor has it",
            precision="bf16",
        ),
        Peer(
            "tvm",
            "apache-tvm",
            "tvm",
            "",
            ("lepton_compiler.evaluation.tvm_runner", "TvmRunner"),
            "TVM's own default CPU pipeline for this processor, which schedules nothing: a floor, not a rival",
            is_rival=False,
        ),
    )
}


def installed_rivals(precision: str = "fp32") -> tuple[str, ...]:
    """Names of the installed peers that one would use instead of Lepton: not of plain TVM, which is a floor.

    Args:
        precision: That of the model that they are compared with. Against a lower one than ``fp32`` they are those that
            have it as well, and ONNX Runtime in float32, whose outputs are the right ones.
    """
    return tuple(
        peer.name
        for peer in PEERS.values()
        if peer.is_rival and peer.is_installed() and is_of_precision(peer, precision)
    )


def is_of_precision(peer: Peer, precision: str) -> bool:
    """Whether a peer computes in float32 or lower as a model of ``precision`` does; the reference fits to each."""
    return (precision == "fp32") == (peer.precision == "fp32") or peer.name == REFERENCE_PEER


def require_peer(name: str, purpose: str, extra: str | None = None) -> Peer:
    """The peer of that name, installed.

    Args:
        name: One of ``PEERS``.
        purpose: What needs it, for the message.
        extra: Extra that the message names instead of the peer's own.

    Raises:
        UserError: There is no such peer.
        MissingExtraError: It is not installed; the message names the extra.
    """
    if name not in PEERS:
        raise UserError(f'unknown peer "{name}"; known: {", ".join(PEERS)}')
    peer = PEERS[name]
    if not peer.is_installed():
        raise MissingExtraError(peer.package, extra or peer.extra, purpose)
    return peer


def open_peer(peer: Peer, model: Path, threads: int, shapes: Mapping[str, tuple[int, ...]]) -> Runner:
    """Loads an ONNX file with a peer.

    Args:
        peer: Who runs it.
        model: The ONNX file.
        threads: Threads for one run, the calling thread included.
        shapes: Fixed shapes of all inputs.

    Raises:
        UserError: The peer can't load this model; the message carries the peer's own.
    """
    module, class_name = peer.runner
    runner_class = getattr(importlib.import_module(module), class_name)
    try:
        return runner_class(model, threads, shapes)
    except LeptonError:
        raise
    except Exception as error:
        raise UserError(f"{peer.name} can't load {model.name}: {error}") from error
