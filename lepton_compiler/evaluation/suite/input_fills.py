"""Float inputs of the suite's models: noise, and pages of strokes where a text detector must have something to find."""

from __future__ import annotations

import numpy as np

_LETTER_WIDTH, _LETTER_HEIGHT, _STROKE = 10, 20, 2
_LETTER_STEP, _LINE_STEP, _LETTERS = 14, 40, 12


def noise(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal values, float32."""
    return random.standard_normal(shape, dtype=np.float32)


def stroke_pages(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Lines of letter-like strokes, black (-1) on white (1): float32 [batch, channels, height, width]."""
    batch, channels, height, width = shape
    pages = np.ones((batch, height, width), np.float32)
    for page in pages:
        for top in range(_LETTER_HEIGHT // 2, height - _LINE_STEP, _LINE_STEP):
            left = int(random.integers(5, width // 4))
            for index in range(_LETTERS):
                _draw_letter(random, page[top : top + _LETTER_HEIGHT, left + index * _LETTER_STEP :])
    return np.repeat(pages[:, np.newaxis], channels, axis=1)


def _draw_letter(random: np.random.Generator, place: np.ndarray) -> None:
    """A stem, a bar at a random height, and now and then a second stem."""
    letter = place[:, :_LETTER_WIDTH]
    bar = int(random.integers(0, _LETTER_HEIGHT - _STROKE))
    letter[:, :_STROKE] = -1
    letter[bar : bar + _STROKE] = -1
    if random.random() < 0.5:
        letter[:, -_STROKE:] = -1
