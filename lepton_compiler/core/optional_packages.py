"""Packages that some verbs alone need: the extra of this project that brings each, and what lacks it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass

from lepton_compiler.core.errors import MissingExtraError


@dataclass(frozen=True)
class OptionalPackage:
    """A package that is imported where a verb needs it.

    Attributes:
        name: Its distribution on PyPI that the extra installs.
        module: Module that is imported.
        extra: Extra of this project that brings it.
        serves: What does not work without it.
        others: Distributions that bring the same module.
    """

    name: str
    module: str
    extra: str
    serves: str
    others: tuple[str, ...] = ()

    def require(self, purpose: str) -> None:
        """Refuses what can't be done without the package, before the work that leads to it.

        Raises:
            MissingExtraError: It is not installed; the message names the extra.
        """
        if importlib.util.find_spec(self.module) is None:
            raise MissingExtraError(self.name, self.extra, purpose)

    def version(self) -> str | None:
        """Version of the installed package, None where there is none."""
        for name in (self.name, *self.others):
            try:
                return importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return None


PILLOW = OptionalPackage("pillow", "PIL", "demo", "the line of text of lepton demo")
MATPLOTLIB = OptionalPackage("matplotlib", "matplotlib", "plot", "pictures and pages of lepton profile and lepton tune")
XGBOOST = OptionalPackage("xgboost-cpu", "xgboost", "tune", "lepton tune", others=("xgboost",))

OPTIONAL_PACKAGES = (PILLOW, MATPLOTLIB, XGBOOST)
