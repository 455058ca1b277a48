"""Class colours: fixed, distinct, and nested as classes are added."""

from __future__ import annotations

from defectctl.imaging.palette import UNKNOWN_COLOUR, class_colours


def test_colours_are_distinct_and_none_is_a_neutral():
    colours = class_colours(254)
    assert len(set(colours)) == 254
    assert all(0 <= part <= 255 for colour in colours for part in colour)
    assert UNKNOWN_COLOUR not in colours
    assert all(max(colour) - min(colour) > 20 for colour in colours)


def test_more_classes_keep_the_first_colours():
    for count in (0, 1, 6, 7, 8, 100, 254):
        assert class_colours(count) == class_colours(254)[:count]


def test_first_colours_differ_in_brightness_or_blue_for_the_red_green_blind():
    # In the blue-yellow and light-dark axes that red-green blindness leaves, no two of the first five come close.
    first = class_colours(5)
    seen = [(0.3 * r + 0.59 * g + 0.11 * b, b - (r + g) / 2) for r, g, b in first]
    for i, a in enumerate(seen):
        for b in seen[:i]:
            assert abs(a[0] - b[0]) + abs(a[1] - b[1]) > 30


def test_caller_may_change_its_list():
    class_colours(3).clear()
    assert len(class_colours(3)) == 3
