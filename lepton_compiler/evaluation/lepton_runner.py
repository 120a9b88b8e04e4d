"""An artifact of ours as a runner, beside its peers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lepton_compiler.evaluation.runner import Feed
from lepton_compiler.runtime.model import load


class LeptonRunner:
    """A compiled library, loaded by the Python runtime."""

    name = "lepton"

    def __init__(self, artifact: Path, threads: int) -> None:
        self._model = load(artifact, threads=threads)
        self.version = self._model.manifest.compiler_version
        self.precision = self._model.manifest.precision

    def run(self, feed: Feed) -> dict[str, np.ndarray]:
        """Outputs by name."""
        # By position: a model may call an input "self".
        return self._model(*(feed[entry.name] for entry in self._model.inputs))

    def close(self) -> None:
        """Closes the library's session."""
        self._model.close()
