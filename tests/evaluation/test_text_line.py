"""The demo's line of text: image, preprocessing and decoding."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_compiler.evaluation.text_line import alphabet, decode, preprocess, render_line


def test_rendered_line_is_dark_text_on_white() -> None:
    image = render_line("Hello")
    assert (image.shape, image.dtype) == ((48, 320, 3), np.uint8)
    assert image[0].min() == 255
    assert image.min() < 64
    assert image[:, :16].min() == 255


def test_width_grows_with_the_text_in_steps() -> None:
    image = render_line("A line of text that is much longer than three hundred and twenty pixels")
    assert image.shape[1] > 320
    assert image.shape[1] % 32 == 0
    assert image[:, -8:].min() == 255


def test_preprocess_is_bgr_in_minus_one_to_one() -> None:
    image = np.zeros((48, 320, 3), np.uint8)
    image[:, :, 0] = 255
    x = preprocess(image)
    assert (x.shape, x.dtype, x.flags.c_contiguous) == ((1, 3, 48, 320), np.float32, True)
    assert [float(x[0, channel].max()) for channel in range(3)] == [-1.0, -1.0, 1.0]


def test_decode_drops_blanks_and_repetitions() -> None:
    characters = alphabet("a\nb")
    assert characters == ["", "a", "b", " "]
    classes = [0, 1, 1, 0, 1, 2, 2, 3, 3, 1, 0]
    probabilities = np.full((len(classes), 4), 0.05)
    probabilities[np.arange(len(classes)), classes] = 0.85
    assert decode(probabilities, characters) == ("aab a", pytest.approx(0.85))


def test_decode_of_nothing() -> None:
    assert decode(np.array([[1.0, 0.0], [1.0, 0.0]]), ["", "a"]) == ("", 0.0)


def test_alphabet_of_another_model() -> None:
    with pytest.raises(ValueError, match="2 classes, but 3 characters"):
        decode(np.ones((1, 2)), ["", "a", " "])
