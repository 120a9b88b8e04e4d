"""Places for the labels of a picture's points, so that no label covers another one and few cover points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_DIRECTIONS = (90, 270, 45, 135, 315, 225, 0, 180, 67, 113, 247, 293)
"""Degrees in the order in which they are tried: above is where readers look first."""
_GAPS = (2.0, 12.0, 24.0, 38.0, 54.0, 72.0)
"""Distances from a point's edge to its label's."""
_LABEL_COVERED, _POINT_COVERED = 1000.0, 12.0
"""What covering costs, in units of distance."""


@dataclass(frozen=True)
class Disc:
    """A point of the picture; all lengths are in one unit, such as typographic points."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Box:
    """A label by its centre."""

    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: Box) -> bool:
        """Whether both share a place."""
        near_x = abs(self.x - other.x) * 2 < self.width + other.width
        return near_x and abs(self.y - other.y) * 2 < self.height + other.height

    def covers(self, disc: Disc) -> bool:
        """Whether a point lies below it, at least in part."""
        across = max(abs(self.x - disc.x) - self.width / 2, 0.0)
        along = max(abs(self.y - disc.y) - self.height / 2, 0.0)
        return math.hypot(across, along) < disc.radius


def place_labels(
    labelled: Sequence[Disc],
    sizes: Sequence[tuple[float, float]],
    others: Sequence[Disc],
    inside: Box,
    taken: Sequence[Box] = (),
) -> list[Box]:
    """A box for each labelled point, one after the other, each in the cheapest place that is left.

    Args:
        labelled: The points.
        sizes: Width and height of each one's label.
        others: Points without labels.
        inside: Where labels may stand.
        taken: Other text in there.
    """
    discs = [*labelled, *others]
    placed = list(taken)
    for disc, size in zip(labelled, sizes, strict=True):
        candidates = [_beside(disc, size, gap, angle) for gap in _GAPS for angle in _DIRECTIONS]
        allowed = [box for box in candidates if _lies_in(box, inside)] or candidates
        placed.append(min(allowed, key=lambda box: _cost(box, disc, placed, discs)))
    return placed[len(taken) :]


def _beside(disc: Disc, size: tuple[float, float], gap: float, angle: int) -> Box:
    """A label whose edge is ``gap`` away from the point's in the direction of ``angle``."""
    width, height = size
    across, along = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    reach = disc.radius + gap
    return Box(disc.x + across * (reach + width / 2), disc.y + along * (reach + height / 2), width, height)


def _cost(box: Box, disc: Disc, placed: Sequence[Box], discs: Sequence[Disc]) -> float:
    labels = sum(box.overlaps(other) for other in placed)
    points = sum(box.covers(other) for other in discs)
    return _LABEL_COVERED * labels + _POINT_COVERED * points + math.hypot(box.x - disc.x, box.y - disc.y)


def _lies_in(box: Box, place: Box) -> bool:
    fits_x = abs(box.x - place.x) * 2 <= place.width - box.width
    return fits_x and abs(box.y - place.y) * 2 <= place.height - box.height
