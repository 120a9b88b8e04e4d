"""What the user asked for. ``pipeline.py`` turns these into pass fields; no pass reads this class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PRECISIONS = ("fp32", "bf16", "mixed")
"""Element types of products and of what is stored between them, as users type them."""

CONVERT_PRECISION = "convert-precision"
"""The pass that makes every precision but fp32."""

Dim = int | str
"""A dimension: a fixed size, or the name of a symbolic one."""


@dataclass(frozen=True)
class CompileOptions:
    """Options of one compilation.

    Attributes:
        target: Name of the target, or ``"native"``.
        input_shapes: Shapes that replace the model's own, by input name; a string keeps a dimension symbolic.
        disabled_passes: Names of passes to leave out; only optional passes can be.
        embed_weights_bytes: Weights larger than this go to a memory-mapped file beside the library.
        winograd: Whether convolutions may be computed by Winograd's algorithms.
        precision: Element types of products: ``"fp32"``, ``"bf16"`` or ``"mixed"``.
        keep_fp32: Nodes whose products stay float32 all the same: names with ``*``, ``"first"`` or ``"last"``.
        max_winograd_error: Largest error that they may be estimated to cause, as a share of a convolution's range.
        merge_products: Whether products that read the same tensor may become one.
        tuning_logs: Tuning logs, or folders of them, whose knobs take the place of the defaults.
        in_place: Whether kernels may write results over operands that are read for the last time.
    """

    target: str = "native"
    input_shapes: Mapping[str, tuple[Dim, ...]] = field(default_factory=dict)
    disabled_passes: tuple[str, ...] = ()
    embed_weights_bytes: int = 1 << 30
    winograd: bool = True
    max_winograd_error: float = 1e-4
    precision: str = "fp32"
    keep_fp32: tuple[str, ...] = ()
    merge_products: bool = True
    in_place: bool = True
    tuning_logs: tuple[Path, ...] = ()

    def contradiction(self) -> str | None:
        """Which two options can't both have their way and what to do, in one sentence; None where all can."""
        if self.precision != "fp32" and CONVERT_PRECISION in self.disabled_passes:
            return (
                f"--precision {self.precision} is made by the pass {CONVERT_PRECISION}, and --disable-pass leaves it "
                "out: leave one of the two out"
            )
        return None
