"""Places for the labels of points."""

from __future__ import annotations

import itertools

import pytest

from lepton_compiler.evaluation.label_places import Box, Disc, place_labels

PAGE = Box(200.0, 200.0, 400.0, 400.0)
SIZE = (12.0, 9.0)


def test_a_lone_label_stands_right_above_its_point() -> None:
    (box,) = place_labels([Disc(200.0, 200.0, 5.0)], [SIZE], [], PAGE)
    assert (box.x, box.y) == (pytest.approx(200.0), pytest.approx(200.0 + 5.0 + 2.0 + 4.5))


@pytest.mark.parametrize("spread", [0.0, 1.0, 4.0])
def test_labels_of_points_at_one_place_do_not_overlap(spread: float) -> None:
    discs = [Disc(200.0 + spread * number, 200.0, 6.0) for number in range(12)]
    boxes = place_labels(discs, [SIZE] * len(discs), [], PAGE)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_a_label_goes_where_it_covers_no_point_and_no_text() -> None:
    point, neighbour = Disc(200.0, 200.0, 5.0), Disc(200.0, 211.0, 3.0)
    (box,) = place_labels([point], [SIZE], [neighbour], PAGE)
    assert not box.covers(neighbour)
    below = Box(200.0, 188.0, 40.0, 12.0)
    (other,) = place_labels([point], [SIZE], [neighbour], PAGE, [below])
    assert not other.covers(neighbour)
    assert not other.overlaps(below)


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (400.0, 400.0), (200.0, 399.0), (399.0, 1.0)])
def test_labels_stay_on_the_page(x: float, y: float) -> None:
    (box,) = place_labels([Disc(x, y, 4.0)], [SIZE], [], PAGE)
    assert abs(box.x - PAGE.x) + box.width / 2 <= PAGE.width / 2
    assert abs(box.y - PAGE.y) + box.height / 2 <= PAGE.height / 2
