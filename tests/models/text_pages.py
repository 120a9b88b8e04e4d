"""Pictures with lines of text: a text detector has something to find in them, which it has not in noise."""

from __future__ import annotations

import string

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_FONT_PIXELS = 20
_LINE_PIXELS = 40


def text_pages(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Pages of random letters, black on white, scaled to -1..1: float32 [batch, 3, height, width]."""
    batch, channels, height, width = shape
    pages = [_page(random, height, width) for _ in range(batch)]
    grey = np.stack([np.asarray(page, np.float32) for page in pages]) / 127.5 - 1
    return np.repeat(grey[:, np.newaxis], channels, axis=1)


def _page(random: np.random.Generator, height: int, width: int) -> Image.Image:
    page = Image.new("L", (width, height), 255)
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(_FONT_PIXELS)
    for top in range(_FONT_PIXELS // 2, height - _LINE_PIXELS, _LINE_PIXELS):
        letters = "".join(random.choice(list(string.ascii_letters), size=12))
        pen.text((int(random.integers(5, width // 4)), top), letters, fill=0, font=font)
    return page
