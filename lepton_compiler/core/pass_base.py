"""Pass: one rewrite of the program, as a frozen dataclass whose fields are its options.

A new pass is one file in ``passes/<family>/``, named like its class, and one line in ``pipeline.py``.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import tvm

from lepton_compiler.core.program import Decline, Rewrite
from lepton_compiler.targets.spec import TargetSpec


@dataclass(frozen=True)
class PassResult:
    """The new module, and what was done or declined on which node."""

    module: tvm.IRModule
    rewrites: tuple[Rewrite, ...] = ()
    declines: tuple[Decline, ...] = ()


class Pass(ABC):
    """Base of all passes.

    Attributes:
        required: Whether later stages can't do without it, so that ``--disable-pass`` refuses it.
    """

    required: ClassVar[bool] = False

    @abstractmethod
    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Rewrites a clone of the program's module, which the pass may change freely."""

    @classmethod
    def name(cls) -> str:
        """Command-line name: the class name in kebab case, ``FoldBatchNorm`` to ``fold-batch-norm``."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()

    @classmethod
    def summary(cls) -> str:
        """First line of the docstring, for tables."""
        return (cls.__doc__ or "").strip().splitlines()[0]
