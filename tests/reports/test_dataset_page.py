"""The page of a dataset: whole and self-contained HTML that tells every number it was given, whatever the names are."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from defectctl.dataset.survey import Survey, measure
from defectctl.imaging.reader import ImageInfo
from defectctl.reports.dataset_page import dataset_page
from defectctl.reports.page_data import (
    ClassRow,
    Examples,
    FindingGroup,
    FindingLine,
    PageData,
    PartLevels,
    PartRow,
    SplitTable,
)
from defectctl.reports.thumbnails import brightened, position_map, stand_in, thumbnail

NASTY = "Kratzer \"größer\" <script>alert('1')</script> & Co"
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Checks that elements close in order; keeps what a reader sees and what attributes hold."""

    def __init__(self, text):
        super().__init__()
        self.open, self.names, self.sources, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, name, attributes):
        self.names.append(name)
        self.sources += [value for key, value in attributes if key in ("src", "href")]
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)


def parsed(data):
    """The page, after the checks that hold for every page."""
    text = dataset_page(data)
    assert text == dataset_page(data)
    result = Page(text)
    assert "script" not in result.names
    assert all(source.startswith(("data:image/", "#")) for source in result.sources)
    assert not re.search(r"http|url\(|@import", text.replace(NASTY, ""))
    return result


def survey_of(*masks, classes=1):
    survey = Survey(classes)
    for number, mask in enumerate(masks):
        height, width = mask.shape
        kind = ImageInfo(width, height, 8, 1, False, False, False, 255)
        survey.add(f"{number}.png", measure(np.full(mask.shape, 90, np.uint8), kind, mask))
    return survey


def page_data(classes=(NASTY,), survey=None, levels=(), **more):
    rows = [ClassRow(name, (230, 159, 0), 2, 40, 0.04, 3) for name in classes]
    part = PartRow("train", 5, 1, 2, 2, [2] * len(classes))
    split = SplitTable("official", "by hand", [part], 0, 0)
    values = {"notes": [], "splits": [split], "sizes": [(10, 50, 5)], "levels": list(levels)}
    values |= more
    survey = survey or survey_of(classes=len(classes))
    return PageData("müll & <b>", "f00d", 1005, 1, 2, 2, "a layout", classes=rows, survey=survey, **values)


def test_headline_classes_and_splits_are_told():
    page = parsed(page_data(notes=["mask value 255 is <unknown>"]))
    assert (
        "müll & <b>" in page.text and "f00d" in page.text and "1,005 images 1 good 2 defective 2 unknown" in page.text
    )
    assert NASTY in page.text and "mask value 255 is <unknown>" in page.text and "a layout" in page.text
    assert "4.0 %" in page.text and "10 × 50" in page.text and "Made by: by hand" in page.text
    assert "Nothing: no finding, no leak" in page.text and "Neither masks nor boxes" in page.text


def test_sizes_worked_by_hand():
    masks = [np.zeros((20, 50), np.uint8) for _ in range(3)]
    masks[0][0:2, 0:5] = 1  # 10 of 1000 pixels, shorter side 2
    masks[1][3:7, 3:8] = 1  # 20, 4
    masks[2][0:8, 0:10] = 1  # 80, 8
    page = parsed(page_data(("dent",), survey_of(*masks)))
    assert "dent masks 3 10 20 80 2.0 % 8.0 % 2 4" in page.text
    assert "3 images; darkest cell 67 %" in page.text  # the corner: in 2 of 3 images


def test_specks_are_counted():
    mask = np.zeros((20, 50), np.uint8)
    mask[2, 2] = mask[5, 3:6] = mask[9, 3:7] = 1
    told = "Patches of 3 pixels or fewer, perhaps slips of the pen: dent 2."
    assert told in parsed(page_data(("dent",), survey_of(mask))).text


def test_what_was_left_out_comes_first_and_everything_is_told_or_counted():
    tile = stand_in("unreadable")
    lines = [FindingLine(f"dir/{i}.png", f"reason {i}", True, tile if i < 2 else None) for i in range(250)]
    groups = [
        FindingGroup("unreadable", 300, 300, lines),
        FindingGroup("twin-leak", 3, 0, [FindingLine(f"t{i}.png", "has a twin", False) for i in range(3)]),
        FindingGroup("odd-values", 1, 0, [FindingLine(NASTY, "is odd", False)]),
    ]
    page = parsed(page_data(findings=groups, notes=["the folder's own split leaks: 7"]))
    order = [
        page.text.index(word)
        for word in ("Act on this first", "split leaks: 7", "Findings to act on", "Other findings")
    ]
    assert order == sorted(order)
    assert "300 left out, e.g. dir/0.png: reason 0" in page.text and "304 findings" in page.text
    assert "twin leak : 3, e.g. t0.png: has a twin" in page.text
    assert page.text.index("twin leak: 3") < page.text.index("How the files were read")
    assert all(f"dir/{i}.png : reason {i}" in page.text for i in range(200)) and "reason 200" not in page.text
    assert "and 100 more, see findings.csv" in page.text and f"{NASTY} : is odd" in page.text
    assert "Look at these, too: odd values (1)." in page.text


def test_a_leaking_split_and_a_part_that_looks_different_are_told_first():
    split = SplitTable("official", "by hand", [PartRow("train", 20, 0, 0, 20, [0])], 4, 2)
    grey = (50.0, 90.0, 100.0, 110.0, 150.0)
    other = (50.0, 120.0, 130.0, 140.0, 150.0)
    levels = [PartLevels("train", 20, grey, grey), PartLevels("test", 20, other, grey)]
    levels.append(PartLevels("val", 9, other, other))
    page = parsed(page_data(("dent",), levels=levels, splits=[split]))
    told = page.text[page.text.index("Act on") : page.text.index("How the files")]
    assert "copy in another part: official 4." in told and "Images in no part: 2" in page.text
    assert "'test' looks different from 'train': its median brightness is 130" in told and "90 to 110" in told
    assert "'val'" not in told and "contrast" not in told  # 9 images tell nothing; the contrast is the same


def test_254_classes_and_no_class_example():
    names = [f"class {i}" for i in range(1, 255)]
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(2, 0).repeat(2, 1)
    examples = [Examples(name, (1, 2, 3), [("a.png", thumbnail(mask))]) for name in names]
    page = parsed(page_data(names, survey_of(mask, classes=254), examples=examples))
    assert all(name in page.text for name in names) and "all classes (masks)" in page.text
    assert page.names.count("figure") == 254 + 1  # one map of positions for all


@pytest.mark.parametrize("name", ["\ud800broken", "zero\x00byte", "bell\x07"])
def test_what_no_html_file_may_hold_is_replaced(name):
    text = dataset_page(page_data((name,)))
    text.encode("utf-8")
    assert name not in text and "\ufffd" in text


def test_embedded_pictures_are_whole():
    text = dataset_page(page_data(survey=survey_of(np.ones((9, 9), np.uint8))))
    data = re.search(r'src="data:image/png;base64,([^"]+)"', text)[1]
    cells = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert cells.shape == (32, 32, 3) and (cells == cells[0, 0]).all()


def decoded(data):
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_position_maps_darken_from_white():
    cells = np.zeros((32, 32))
    cells[0] = np.arange(32)
    grey = decoded(position_map(cells)).mean(axis=2)
    assert (grey[1:] == 255).all() and (np.diff(grey[0]) < 0).all() and grey[0, -1] < 40


@pytest.mark.parametrize("shape", [(60, 40), (4000, 50), (448, 448, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_thin_defect_is_outlined_in_its_colour_whatever_the_size(shape, dtype):
    mask = np.zeros(shape[:2], np.uint8)
    mask[shape[0] // 2, 20:22] = 2
    picture = decoded(thumbnail(np.zeros(shape, dtype), mask, [], [(0, 0, 255), (255, 0, 0)])).astype(int)
    assert max(picture.shape) <= 224
    assert (picture[:, :, 0] - picture[:, :, 2]).max() > 60


def test_boxes_are_drawn_and_dark_pictures_brightened():
    picture = decoded(thumbnail(np.zeros((448, 448), np.uint8), None, [(1, (100, 100, 300, 300))], [(255, 255, 255)]))
    assert picture[100, 48:52].max() > 150 and picture[100, 100].max() < 60
    assert brightened(np.array([[0, 3]], np.uint8)).tolist() == [[0, 255]]
    assert brightened(np.array([[0, 4095]], np.uint16)).tolist() == [[0, 255]]
    assert brightened(np.array([[0, 200]], np.uint8)).tolist() == [[0, 200]]
    assert brightened(np.zeros((1, 1), np.uint8)).tolist() == [[0]]
