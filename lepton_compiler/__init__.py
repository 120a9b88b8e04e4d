"""Lepton: an ahead-of-time compiler for trained models, and the loader of what it compiles.

Names are imported when they are first used: importing this package imports nothing else, and loading an artifact
imports neither TVM nor the compiler.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lepton_compiler.driver import compile_model
    from lepton_compiler.runtime.model import Model, load

    __version__: str

__all__ = ["Model", "__version__", "compile_model", "load"]

_HOMES = {
    "Model": "lepton_compiler.runtime.model",
    "load": "lepton_compiler.runtime.model",
    "compile_model": "lepton_compiler.driver",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = importlib.import_module("importlib.metadata").version("lepton-compiler")
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
