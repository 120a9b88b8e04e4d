from __future__ import annotations

import pytest

from lepton_compiler.passes.winograd.choose_algorithm import WinogradPolicy
from lepton_compiler.passes.winograd.transforms import F2, F4
from lepton_compiler.targets.registry import get_target

ZEN5 = get_target("amd-zen5")


def test_large_images_take_large_tiles():
    choice = WinogradPolicy().choose(ZEN5, (64, 64, 3, 3), (1, 56, 56))
    assert choice.transform is F4
    assert choice.reason.startswith("Winograd F(4x4, 3x3): estimated 0.")


def test_few_channels_stay_direct():
    choice = WinogradPolicy().choose(ZEN5, (16, 3, 3, 3), (1, 224, 224))
    assert choice.transform is None
    assert choice.reason == "direct: 3 channels are too few for Winograd"


def test_weights_that_come_from_memory_stay_small():
    choice = WinogradPolicy().choose(ZEN5, (512, 512, 3, 3), (1, 7, 7))
    assert choice.transform is not F4


def test_a_tighter_error_bound_takes_smaller_tiles():
    assert WinogradPolicy(max_error=1e-6).choose(ZEN5, (64, 64, 3, 3), (1, 56, 56)).transform is F2
    choice = WinogradPolicy(max_error=1e-9).choose(ZEN5, (64, 64, 3, 3), (1, 56, 56))
    assert choice.transform is None
    refusal, _, estimates = choice.reason.partition("; ")
    assert refusal == "direct: no Winograd error is estimated below 1e-09 of the range"
    assert estimates.startswith(
        "cycles of a core: direct 3.93 M, F(2x2, 3x3) 1.87 M with error 7.9e-07, F(4x4, 3x3) 1."
    )


@pytest.mark.parametrize("size", [7, 14, 56])
def test_a_symbolic_batch_is_judged_as_one_image(size):
    weight = (128, 128, 3, 3)
    assert WinogradPolicy().choose(ZEN5, weight, (None, size, size)) == WinogradPolicy().choose(
        ZEN5, weight, (1, size, size)
    )


@pytest.mark.parametrize(
    ("policy", "output", "reason"),
    [
        (WinogradPolicy(enabled=False), (1, 56, 56), "direct: Winograd is switched off"),
        (
            WinogradPolicy(),
            (1, None, 56),
            "direct: the size of the image is not known, and so not whether Winograd is faster",
        ),
    ],
)
def test_refusals(policy, output, reason):
    choice = policy.choose(ZEN5, (64, 64, 3, 3), output)
    assert choice.transform is None
    assert choice.reason == reason
