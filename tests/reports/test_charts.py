"""The charts of an evaluation: coordinates worked by hand from a square of 340 x 250 pixels at (60, 20)."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from defectctl.reports import charts
from defectctl.reports.evaluation_data import Curve, Mark, RecallRow, ReliabilityBin

NASTY = "Kratzer \"größer\" <script>alert('1')</script> & Co"


def drawn(chart):
    """The chart as XML; everything drawn must lie inside the drawing."""
    root = ElementTree.fromstring(chart)
    _, _, width, height = map(float, root.get("viewBox").split())
    for element in root.iter():
        for keys, most in ((("x", "x1", "x2", "cx"), width), (("y", "y1", "y2", "cy"), height)):
            assert all(-0.05 <= float(element.get(key)) <= most for key in keys if element.get(key)), element.attrib
    assert root.get("aria-label") and "nan" not in chart and "inf" not in chart
    return root


def texts(root):
    return [element.text for element in root.iter("text")]


def lines_of(root):
    """Paths of the curves, without the samples in the legend."""
    return [path.get("d") for path in root.iter("path") if path.find("title") is not None]


def circles(root):
    return [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter("circle")]


def bars_of(root):
    """Rectangles with a text under the pointer: text, x, y, width, height."""
    return [
        (rect.find("title").text, *(float(rect.get(key)) for key in ("x", "y", "width", "height")))
        for rect in root.iter("rect")
        if rect.find("title") is not None
    ]


def test_straight_curve_by_hand():
    root = drawn(charts.curve_chart([Curve("parts", [0, 0.5, 1], [1, 0.5, 0], "AP 0.500")], "a", "b", "c"))
    assert lines_of(root) == ["M60 20 L230 145 L400 270"]
    assert {"parts, AP 0.500", "a", "b", "0.2", "1"} <= set(texts(root))


def test_steps_hold_from_the_point_before_as_average_precision_counts_them():
    root = drawn(charts.curve_chart([Curve("parts", [0.5, 1], [1, 0.5])], "a", "b", "c", steps=True))
    assert lines_of(root) == ["M60 20 H230 V145 H400"]  # area 0.5 * 1 + 0.5 * 0.5


def test_root_axes_draw_small_rates_large_and_marks_are_lettered():
    marks = [Mark("in force", 0.25, 0.04), Mark("best F1", 1, 0)]
    curve = Curve("all", [0, 0.01, 1], [1, 0.25, 0])
    root = drawn(charts.curve_chart([curve], "a", "b", "c", marks, charts.ROOT))
    assert lines_of(root) == ["M60 20 L94 145 L400 270"]
    on_curve = [spot for spot in circles(root) if spot[1] <= 270]
    assert on_curve == [(230, 220), (400, 270)]
    assert {"A", "B", "A in force", "B best F1", "1 %"} <= set(texts(root))
    single = texts(drawn(charts.curve_chart([curve], "a", "b", "c", marks[:1], charts.ROOT)))
    assert "in force" in single and "A" not in single


def test_what_is_not_finite_is_left_out_and_an_empty_curve_is_no_line():
    curves = [Curve("holes", [0, 0.5, 1], [1, float("nan"), 0]), Curve("none", [], [])]
    root = drawn(charts.curve_chart(curves, "a", "b", "c"))
    assert lines_of(root) == ["M60 20 L400 270"] and "none" in texts(root)


def test_a_hundred_thousand_points_stay_small_and_keep_their_ends():
    x = np.linspace(0, 1, 100_001)
    (path,) = lines_of(drawn(charts.curve_chart([Curve("c", x, x)], "a", "b", "c")))
    assert len(path) < 20_000 and path.startswith("M60 270 ") and path.endswith(" L400 20")


def test_reliability_by_hand():
    bins = [ReliabilityBin(0.5, 100, 50, (0.4, 0.6)), ReliabilityBin(0.1, 25, 0), ReliabilityBin(0.9, 0, 0)]
    root = drawn(charts.reliability_chart(bins, "c"))
    assert circles(root) == [(230, 145), (94, 270)]  # a bin without parts is not drawn
    assert [c.get("r") for c in root.iter("circle")] == ["9", "6"]
    whiskers = [line for line in root.iter("line") if line.get("x1") == line.get("x2") == "230"]
    assert [(line.get("y1"), line.get("y2")) for line in whiskers] == [("170", "120")]
    assert "mean score 0.500: 50 of 100 parts defective" in "".join(root.itertext())


def test_histogram_by_hand():
    good, defective = np.array([0.0, 0.01, 0.02, 0.024, 0.51]), np.array([1.0, 0.99])
    root = drawn(charts.score_histogram(good, defective, [("NG from 0.5", 0.5)], "c"))
    # 40 columns of 10 pixels from x 40; one threshold: the good half reaches from y 36 to 126, the other to 216
    assert bars_of(root) == [
        ("4 good", 40, 36, 9, 90),
        ("1 good", 240, 81, 9, 45),  # a quarter of the count is half the height
        ("2 defective", 430, 126, 9, 90),
    ]
    line = next(line for line in root.iter("line") if line.get("stroke-dasharray"))
    assert line.get("x1") == line.get("x2") == "240"
    assert {"NG from 0.5", "good: 5, tallest bar 4", "defective: 2, tallest bar 2"} <= set(texts(root))


def test_histogram_without_good_parts_and_with_a_threshold_outside():
    root = drawn(charts.score_histogram(np.zeros(0), np.array([0.3]), [("NG from 1.5", 1.5)], "c"))
    assert [bar[0] for bar in bars_of(root)] == ["1 defective"] and "good: 0, tallest bar 0" in texts(root)
    assert "NG from 1.5" not in texts(root)


@pytest.mark.parametrize(("thresholds", "stretched"), [([0.001, 0.5], True), ([0.99], True), ([0, 0.5, 1], False)])
def test_an_axis_with_a_threshold_near_its_end_is_stretched(thresholds, stretched):
    assert (charts.score_scale(thresholds) is charts.LOGIT) == stretched


def test_stretched_axis_by_hand():
    place = charts.LOGIT.place
    assert [place(value) for value in (0, 0.0001, 0.5, 0.9999, 1)] == pytest.approx([0, 0, 0.5, 1, 1])
    assert place(0.1) == pytest.approx(1 - place(0.9)) and place(0.01) - place(0.001) > 0.1
    drawn(charts.score_histogram(np.array([0, 0.0005]), np.array([0.002, 1]), [("NG from 0.001", 0.001)], "c"))


def test_rate_bars_by_hand():
    rows = [RecallRow(NASTY, 3, 4, (0.25, 1.0)), RecallRow("none", 0, 0)]
    root = drawn(charts.rate_bars(rows, "c"))
    rects = [rect for rect in root.iter("rect")]
    assert [(rect.get("x"), rect.get("width")) for rect in rects] == [("140", "180")]  # 3 / 4 of 240 pixels
    whisker = next(line for line in root.iter("line") if line.get("stroke-width") == "2")
    assert (whisker.get("x1"), whisker.get("x2")) == ("200", "380")
    assert {"3 of 4", "0 of 0"} <= set(texts(root)) and NASTY in [title.text for title in root.iter("title")]


def test_confusion_cells_hold_percent_and_pixels():
    matrix = np.array([[30, 10], [0, 0]])
    root = drawn(charts.heat_matrix(["background", NASTY], matrix, "c"))
    told = bars_of(root)
    assert [bar[0] for bar in told] == [
        "background called background: 30 of 40 pixels",
        f"background called {NASTY}: 10 of 40 pixels",
    ]
    assert told[1][1] - told[0][1] == 68 and told[1][2] == told[0][2]
    assert {"75.0", "30", "25.0", "10"} <= set(texts(root))


def test_confusion_darkens_with_the_share_and_many_classes_fit():
    count = charts.MOST_DRAWN
    matrix = np.full((count, count), 10) + np.eye(count, dtype=int) * 7000
    text = charts.heat_matrix([f"class {i}" for i in range(count)], matrix, "c")
    root = drawn(text)
    fills = {rect.get("fill") for rect in root.iter("rect") if rect.find("title") is not None}
    grey = sorted(sum(int(fill[i : i + 2], 16) for i in (1, 3, 5)) for fill in fills)
    assert len(grey) == 2 and grey[0] < 250 and grey[1] > 750
    assert len(text) < 300_000 and not re.search(r"https?:", text)
