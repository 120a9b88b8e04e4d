"""Why each kernel of a profile is computed the way it is: what passes decided, and else the kind of its schedule."""

from __future__ import annotations

from collections.abc import Sequence

from lepton_compiler.core.decisions import Decision, decisions
from lepton_compiler.evaluation.kernel_profile import KernelProfile, ModelProfile

ANCHOR_REASONS = {
    "convolution": "direct convolution on plain channels",
    "depthwise_convolution": "depthwise convolution on plain channels",
    "packed_convolution": "direct convolution on packed channels",
    "packed_depthwise": "a window over each packed channel by itself",
    "winograd": "Winograd's algorithm on packed channels",
    "dense": "a product with constant weights, which are packed while compiling",
    "matmul": "a product of two tensors that are known at run time only",
    "attention": "scores, softmax and values of attention as one kernel",
    "row_reduction": "reductions along the last axis, row by row while it is in the cache",
    "generic": "reductions or loops without a schedule of their own: the one that every kernel has",
    "elementwise": "no product or reduction: one pass over the elements",
    "opaque": "loops written by hand, which no schedule changes",
}
"""What each anchor means, for kernels on which no pass decided anything."""


def reasons_of(kernel: KernelProfile, profile: ModelProfile) -> tuple[Decision, ...]:
    """What passes decided about a kernel."""
    return decisions(kernel.entry, profile.manifest.passes)


def reason_text(kernel: KernelProfile, profile: ModelProfile) -> str:
    """The reason for a kernel's algorithm in one line."""
    sentences = [decision.sentence for decision in reasons_of(kernel, profile)]
    return "; ".join(sentences) or ANCHOR_REASONS.get(kernel.entry.anchor, kernel.entry.anchor)


def reason_rows(kernels: Sequence[KernelProfile], profile: ModelProfile) -> list[tuple[str, str]]:
    """Each reason once, with the numbers of its kernels, in the order of ``kernels``."""
    numbers: dict[str, list[str]] = {}
    for kernel in kernels:
        numbers.setdefault(reason_text(kernel, profile), []).append(str(kernel.number))
    return [(", ".join(found), reason) for reason, found in numbers.items()]
