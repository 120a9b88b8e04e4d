"""The open table of converters: which function imports which ONNX operator, by domain, name and version."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

from lepton_compiler.frontend import operators
from lepton_compiler.frontend.conversion import Conversion, Value

Result: TypeAlias = "Value | Sequence[Value | None]"
"""One value, or one for each output."""
Converter: TypeAlias = Callable[[Conversion], Result]

_TABLE: dict[tuple[str, str], dict[int, Converter]] = {}
_RUN_TIME_TABLE: dict[tuple[str, str], tuple[frozenset[int], Converter]] = {}


def converter(*names: str, domain: str = "", since: int = 1) -> Callable[[Converter], Converter]:
    """Registers a converter for one or more operators of a domain, from version ``since`` of its operator set on.

    An operator may have several converters; the one with the highest ``since`` that is not above the model's version
    is taken. Registering the same operator and version again is a mistake and raises ``ValueError``.
    """

    def register(function: Converter) -> Converter:
        for name in names:
            versions = _TABLE.setdefault((_canonical(domain), name), {})
            if since in versions:
                raise ValueError(f"operator {name} of domain {domain!r} has two converters since version {since}")
            versions[since] = function
        return function

    return register


def run_time_converter(*names: str, inputs: Sequence[int], domain: str = "") -> Callable[[Converter], Converter]:
    """Registers a converter for nodes that are given one of ``inputs`` only when the model runs.

    These are the inputs whose values ordinary converters want to know: target shapes, axes, numbers of results. Such a
    converter may rely on the output shapes that the model declares. Registering one twice raises ``ValueError``.
    """

    def register(function: Converter) -> Converter:
        for name in names:
            key = (_canonical(domain), name)
            if key in _RUN_TIME_TABLE:
                raise ValueError(f"operator {name} of domain {domain!r} has two run-time converters")
            _RUN_TIME_TABLE[key] = (frozenset(inputs), function)
        return function

    return register


def find_run_time_converter(domain: str, name: str, run_time_inputs: Collection[int]) -> Converter | None:
    """The converter of an operator whose inputs ``run_time_inputs`` are known only when the model runs."""
    _load_all()
    inputs, function = _RUN_TIME_TABLE.get((_canonical(domain), name), (frozenset(), None))
    return None if inputs.isdisjoint(run_time_inputs) else function


def find_converter(domain: str, name: str, version: int) -> Converter | None:
    """The converter of an operator at a version of its operator set, None where there is none."""
    _load_all()
    versions = _TABLE.get((_canonical(domain), name), {})
    fitting = [since for since in versions if since <= version]
    return versions[max(fitting)] if fitting else None


def registered_operators() -> list[tuple[str, str, int]]:
    """Domain, name and first version of every converter, sorted."""
    _load_all()
    return sorted((domain, name, since) for (domain, name), versions in _TABLE.items() for since in versions)


def _canonical(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


@functools.cache
def _load_all() -> None:
    for module in pkgutil.iter_modules(operators.__path__):
        importlib.import_module(f"{operators.__name__}.{module.name}")
