"""The precision of a compiled model in one line: how many products were converted, and why others were not."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from lepton_compiler.core.options import CONVERT_PRECISION

if TYPE_CHECKING:
    from lepton_compiler.core.manifest import Manifest

_MOST_REASONS = 3


def precision_text(manifest: Manifest) -> str:
    """``"bf16: 11 of 21 products; 10 stay float32: ..."``; the reasons one by one stand in ``lepton inspect --why``."""
    done = next((entry for entry in manifest.passes if entry.name == CONVERT_PRECISION), None)
    if done is None or not (done.rewrites or done.declines):
        return manifest.precision
    text = f"{manifest.precision}: {len(done.rewrites)} of {len(done.rewrites) + len(done.declines)} products"
    reasons = Counter(reason.partition(" (")[0] for _, reason in done.declines)
    return text + "".join(f"; {_kept_text(reason, count)}" for reason, count in reasons.most_common(_MOST_REASONS))


def _kept_text(reason: str, count: int) -> str:
    """``"1 stays float32: ..."``, ``"17 stay float32: ..."``: the sentence of the pass is about one product."""
    return f"{count} {reason}" if count == 1 else f"{count} {reason.replace('stays', 'stay', 1)}"
