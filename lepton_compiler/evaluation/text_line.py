"""A line of text as an image for PP-OCR's recogniser, and its output as text again.

Preprocessing and decoding follow PaddleOCR's recogniser: BGR, height 48, ``(x / 255 - 0.5) / 0.5``; connectionist
temporal classification with the blank first and the space last (Graves et al., ICML 2006).
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

HEIGHT = 48
_FONT_SIZE = 32
_MARGIN = 16
_MIN_WIDTH = 320
_WIDTH_STEP = 32


def render_line(text: str) -> np.ndarray:
    """Black text on white.

    Returns:
        uint8 array [48, width, 3]; the width is a multiple of 32 and at least 320.
    """
    font = ImageFont.load_default(_FONT_SIZE)
    left, _, right, _ = font.getbbox(text)
    wanted = int(right - left) + 2 * _MARGIN
    width = max(_MIN_WIDTH, -(-wanted // _WIDTH_STEP) * _WIDTH_STEP)
    image = Image.new("RGB", (width, HEIGHT), "white")
    # Anchored at the middle of the line's left edge, so that the text stands between the margins whatever the font.
    ImageDraw.Draw(image).text((_MARGIN, HEIGHT // 2), text, fill="black", font=font, anchor="lm")
    return np.asarray(image)


def preprocess(image: np.ndarray) -> np.ndarray:
    """An RGB image [48, width, 3] of uint8 as the recogniser's input, float32 [1, 3, 48, width]."""
    blue_green_red = image[:, :, ::-1].astype(np.float32)
    scaled = (blue_green_red / 255 - 0.5) / 0.5
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


def alphabet(character_metadata: str) -> list[str]:
    """Characters by class number: the blank, those of the metadata key ``character`` (one a line), the space."""
    return ["", *character_metadata.split("\n"), " "]


def decode(probabilities: np.ndarray, characters: list[str]) -> tuple[str, float]:
    """Reads the most likely text: repeated classes are one character, the blank is none.

    Args:
        probabilities: float array [steps, classes].
        characters: Characters by class number, the blank first.

    Returns:
        The text, and the mean probability of its characters (0 for an empty text).
    """
    if probabilities.shape[1] != len(characters):
        raise ValueError(f"{probabilities.shape[1]} classes, but {len(characters)} characters")
    best = probabilities.argmax(axis=1)
    starts = np.concatenate(([True], best[1:] != best[:-1])) & (best != 0)
    # Wide margins read as spaces.
    text = "".join(characters[index] for index in best[starts]).strip()
    confidence = probabilities.max(axis=1)[starts]
    return text, float(confidence.mean()) if confidence.size else 0.0
