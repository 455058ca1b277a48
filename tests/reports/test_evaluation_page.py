"""The report of an evaluation: whole and self-contained HTML that tells what it was given and what it was not."""

from __future__ import annotations

import base64
import dataclasses
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from defectctl.reports.evaluation_cases import fitted_picture
from defectctl.reports.evaluation_data import (
    BoxScores,
    Case,
    ClassScores,
    Confusion,
    Cost,
    Curve,
    EvaluationPage,
    Headline,
    Mark,
    Notice,
    OperatingPoint,
    Promise,
    RecallRow,
    Record,
    Reliability,
    ReliabilityBin,
    Scores,
    TradeOff,
)
from defectctl.reports.evaluation_page import evaluation_page
from defectctl.reports.html import amount, percent, score_text

NASTY = "Kratzer \"größer\" <script>alert('1')</script> & Co"
VOID = {"meta", "img"}
SECTIONS = [
    "Figures",
    "Operating point",
    "Curves",
    "Scores of good and defective parts",
    "Confusion of classes",
    "Defects found",
    "Figures by class",
    "Boxes",
    "Worst misses",
    "Worst false alarms",
    "For the record",
    "Signed",
]


class Page(HTMLParser):
    """Checks that elements close in order; keeps what a reader sees, table rows as lists, and links."""

    def __init__(self, text):
        super().__init__()
        self.open, self.names, self.sources, self.words, self.headings, self.rows = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, name, attributes):
        self.names.append(name)
        self.sources += [value for key, value in attributes if key in ("src", "href", "xlink:href")]
        assert not [key for key, _ in attributes if key.startswith("on")]
        if name not in VOID:
            self.open.append(name)
        if name == "tr":
            self.rows.append([])
        if name in ("td", "th"):
            self.rows[-1].append("")
        if name == "h2":
            self.headings.append("")

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if self.open[-1:] == ["style"]:
            return
        self.words.append(data)
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data
        if "h2" in self.open:
            self.headings[-1] += data


def parsed(data):
    """The page, after the checks that hold for every page."""
    text = evaluation_page(data)
    assert text == evaluation_page(data)
    text.encode("utf-8")
    result = Page(text)
    assert result.headings == SECTIONS
    assert "script" not in result.names and "link" not in result.names
    assert all(source.startswith("data:image/") for source in result.sources)
    assert not re.search(r"https?:|url\(|@import|\bnan\b|\binf\b|None", text)
    return result


def sparse(**more):
    """An evaluation of which nothing optional is known."""
    values = {"model": "model", "dataset": "neu", "split": "official", "part": "test", "images": 7, "good": 3}
    values |= {"defective": 4, "unknown": 0, "headline": [], "record": Record()}
    return EvaluationPage(**(values | more))


def noise(seed=0, height=480, width=640):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def full(classes=("dent", NASTY), **more):
    count = len(classes)
    curve = Curve("parts", [0.5, 1], [1, 0.5], "AP 0.750")
    values = {
        "operating": OperatingPoint(0.25, 0.5, "chosen by hand", (1, 0, 3), (2, 0, 1)),
        "precision_recall": [curve],
        "trade_off": TradeOff(curve, [Mark("in force", 0.3, 0.25)]),
        "reliability": Reliability([ReliabilityBin(0.5, 4, 2)], 0.125),
        "scores": Scores([0.1, 0.2, 0.9], [0.1, 0.6, 0.7, 0.8]),
        "confusion": Confusion(["background", *classes], np.eye(count + 1, dtype=np.int64) * 1234567 + 89),
        "recall_by_class": [RecallRow(name, 3, 4) for name in classes],
        "recall_by_size": [RecallRow("1 to 9 px", 3, 8, (0.1, 0.7))],
        "classes": [ClassScores(name, (1, 2, 3), 0.5) for name in classes],
        "boxes": BoxScores(0.25, 11, 12, 13, [(0.5, 0.875), (0.95, None)], curve),
        "misses": [Case(NASTY, 0.125, "OK", [("truth", noise(0, 60, 80))], "IoU 0.10")],
        "false_alarms": [Case("b.png", 0.75, "NG")],
    }
    return sparse(**(values | more))


def test_everything_absent_is_said_in_one_sentence_each():
    page = parsed(sparse())
    assert "No figure could be computed." in page.text and "svg" not in page.names and "img" not in page.names
    fields = [field.name for field in dataclasses.fields(EvaluationPage) if field.default is None]
    assert len(fields) == 12
    for key in fields:
        assert sparse().why_absent(key) in page.text
        assert "because of <that>." in parsed(sparse(absent={key: "because of <that>."})).text


def test_everything_present_is_drawn():
    page = parsed(full())
    for key in ("operating", "precision_recall", "trade_off", "scores", "confusion", "classes", "boxes", "misses"):
        assert full().why_absent(key) not in page.text
    assert page.names.count("svg") == 8 and page.names.count("img") == 1
    assert "precision_recall" not in page.text


@pytest.mark.parametrize("key", ["operating", "scores", "trade_off", "recall_by_size", "boxes", "false_alarms"])
def test_one_section_can_be_missing(key):
    assert full().why_absent(key) in parsed(full(**{key: None})).text


def test_the_verdict_tells_escapes_overkill_and_unsure_parts_first():
    point = OperatingPoint(0.25, 0.5, "chosen by hand", (3, 4, 113), (389, 8, 3), (1, 2, 3))
    page = parsed(sparse(images=526, good=400, defective=120, unknown=6, operating=point))
    told = "3 of 120 defective parts escaped, 3 of 400 good parts were stopped, 14 of 526 parts are left to a person."
    assert f"At the operating point {told}" in page.text
    assert page.text.index(told) < page.text.index("Figures")
    assert "Of 6 of 526 parts nobody knows whether they are good" in page.text
    assert ["defective", "3 (2.5 %)", "4 (3.3 %)", "113 (94.2 %)", "120"] in page.rows
    assert ["good", "389 (97.2 %)", "8 (2.0 %)", "3 (0.75 %)", "400"] in page.rows
    assert ["unknown", "1 (16.7 %)", "2 (33.3 %)", "3 (50.0 %)", "6"] in page.rows
    assert "OK below image score 0.25, NG from 0.5 on, UNSURE in between. chosen by hand" in page.text


def test_no_good_part_and_a_leak_are_warned_of():
    point = OperatingPoint(None, None, "", (1, 0, 3), (0, 0, 0))
    leak = Notice("LEAK: trained on <these>", True)
    page = parsed(sparse(good=0, images=4, operating=point, warnings=[leak, Notice("2.3% left out")]))
    assert "Not a valid test, see below. At the operating point 1 of 4 defective parts escaped." in page.text
    assert "There is no good part among these images" in page.text and "no defective part" not in page.text
    assert page.text.index("LEAK: trained on <these>") < page.text.index("2.3% left out") < page.text.index("Figures")
    assert "No threshold: a part is NG if any defect is reported" in page.text
    assert ["good", "0", "0", "0", "0"] in page.rows


def test_no_defective_part_and_no_part_of_known_state():
    point = OperatingPoint(None, 0.5, "", (0, 0, 0), (3, 0, 0))
    page = parsed(sparse(defective=0, images=3, operating=point))
    assert "At the operating point 0 of 3 good parts were stopped." in page.text
    assert "There is no defective part" in page.text and "NG from image score 0.5 on, OK below it" in page.text
    nobody = OperatingPoint(None, 0.5, "", (0, 0, 0), (0, 0, 0), (2, 0, 1))
    rows = [Headline("nothing", None, "x"), Headline("defect IoU", 0.25, "x")]
    assert "defect IoU: 0.250." in parsed(sparse(good=0, defective=0, operating=nobody, headline=rows)).text


def test_headline_rows_hold_the_numbers_handed_in():
    rows = [
        Headline("defect IoU", 0.81249, "any <defect>", (0.791, 0.8344)),
        Headline("escapes", 0.025, "passed", (0.005, 0.0713), "percent", (3, 120)),
        Headline("boundary error", 1.375, "pixels", None, "number"),
        Headline("FP at full recall", 1231, "good parts", (1000, 1500), "number"),
        Headline("mAP50", None, "boxes", reason="the model detects no boxes"),
        Headline("odd", float("nan"), "x", (float("nan"), 1)),
    ]
    page = parsed(sparse(headline=rows, interval_level=0.9, interval_note="Bootstrap over 87 groups."))
    assert ["metric", "value", "90 % interval", "meaning"] in page.rows
    assert ["defect IoU", "0.812", "0.791 to 0.834", "any <defect>"] in page.rows
    assert ["escapes", "3 of 120 (2.5 %)", "0.50 % to 7.1 %", "passed"] in page.rows
    assert ["boundary error", "1.38", "–", "pixels"] in page.rows
    assert ["FP at full recall", "1,231", "1,000 to 1,500", "good parts"] in page.rows
    assert "cannot be known here: mAP50 (the model detects no boxes); odd." in page.text
    assert "Bootstrap over 87 groups." in page.text


def test_promises_and_cost():
    promises = [
        Promise("escape rate", 0.01, 0.95, True, "Rests on 310 parts."),
        Promise("overkill rate", 0.005, 0.9, False, "120 good parts carry 2.5 %."),
    ]
    cost = Cost(500, 12.5, 537.5, 1.0336, 2, "Cheapest: 0.31.")
    point = OperatingPoint(0.123456, 0.123457, "x", (1, 2, 3), (4, 2, 3), (0, 2, 0), promises, cost, ["Look <here>."])
    page = parsed(sparse(operating=point))
    assert "Promised: escape rate at most 1 % with 95 % confidence. Rests on 310 parts." in page.text
    assert "Not promised: overkill rate at most 0.5 % with 90 % confidence. 120 good parts carry 2.5 %." in page.text
    told = "1 escape at 500 and 3 good parts stopped at 12.50 and 6 unsure parts at 2: 537.50 in all, 1.03 a part."
    assert f"{told} Cheapest: 0.31." in page.text and "Look <here>." in page.text
    assert "OK below image score 0.123456, NG from 0.123457 on" in page.text


def test_recalls_boxes_and_confusions():
    page = parsed(full())
    assert ["1 to 9 px", "3", "8", "37.5 %", "10.0 % to 70.0 %"] in page.rows
    assert [NASTY, "3", "4", "75.0 %", "–"] in page.rows
    assert "score 0.25 or more, at overlap 0.5: 11 right, 12 wrong, 13 true boxes missed." in page.text
    assert ["0.50", "0.875"] in page.rows and ["0.95", "–"] in page.rows
    assert ["background", "dent", "89", "0.0072 %"] in page.rows and "1,234,656" in page.text
    assert "calibration error 0.125" in page.text
    clean = Confusion(["background", "dent"], np.diag([5, 3]))
    assert "No pixel was given to a wrong class." in parsed(full(confusion=clean)).text


def test_class_table_leaves_out_columns_that_nobody_knows():
    rows = [
        ClassScores("dent", (255, 0, 0), 0.5, 0.25, 0, 1.0, 12345),
        ClassScores(NASTY, (0, 255, 0), pixels=0),
        ClassScores("background", None, 1, 1, 1, 1, 99),
    ]
    page = parsed(sparse(classes=rows))
    assert ["class", "IoU", "precision", "recall", "F1", "pixels"] in page.rows
    assert ["dent", "0.500", "0.250", "0.000", "1.000", "12,345"] in page.rows
    assert [NASTY, "–", "–", "–", "–", "0"] in page.rows
    detected = parsed(sparse(classes=[ClassScores("dent", (0, 0, 0), ap50=0.75, ap=0.5, boxes=3)]))
    assert ["class", "AP50", "AP", "boxes"] in detected.rows and ["dent", "0.750", "0.500", "3"] in detected.rows


@pytest.mark.parametrize("count", [1, 20, 60])
def test_any_number_of_classes(count):
    names = [f"class {i}" for i in range(count)]
    page = parsed(full(names))
    assert all([name, "3", "4", "75.0 %", "–"] in page.rows for name in names)
    assert page.names.count("svg") == (7 if count == 60 else 8)  # too many to draw are listed only
    listed = [row for row in page.rows if row[-1].endswith("%") and len(row) == 4]
    assert len(listed) == min(10, count * (count + 1))


def test_cases_tell_id_score_and_verdict_and_no_case_is_good_news():
    page = parsed(full(false_alarms=[]))
    assert f"{NASTY} · score 0.125 · OK · IoU 0.10" in page.text
    assert "No false alarm among these images." in page.text
    assert "No miss among these images." in parsed(sparse(misses=[])).text


def test_the_record_holds_what_was_given_and_nothing_else():
    facts = {"device": "cuda:0", "cuda": None, "packages": {"numpy": "2.2"}, "cores": 0}
    record = Record("f00d", "beef", "C:\\Modelle\\größer.safetensors", "ab12", {"epoch": 3}, "", facts, "21 November")
    page = parsed(sparse(record=record))
    start = page.rows.index(["what", "value"])
    assert page.rows[start + 1 :] == [
        ["dataset", "neu, split official, part test"],
        ["dataset fingerprint", "f00d"],
        ["split fingerprint", "beef"],
        ["model file", "C:\\Modelle\\größer.safetensors"],
        ["model sha256", "ab12"],
        ["training: epoch", "3"],
        ["device", "cuda:0"],
        ["packages numpy", "2.2"],
        ["cores", "0"],
        ["date", "21 November"],
    ]
    assert page.text.endswith("Signed Name Date Signature")


def test_any_name_is_told_literally():
    record = Record(NASTY, NASTY, NASTY, NASTY, {NASTY: NASTY}, NASTY, {NASTY: NASTY}, NASTY)
    rows = [Headline(NASTY, 0.5, NASTY), Headline(NASTY, None, NASTY, reason=NASTY)]
    page = parsed(full(model=NASTY, dataset=NASTY, split=NASTY, part=NASTY, headline=rows, record=record))
    assert page.text.count("<script>") > 20
    broken = evaluation_page(sparse(model="zero\x00 \ud800"))
    assert "\x00" not in broken and "\ud800" not in broken


def test_24_large_pictures_stay_below_2_megabytes():
    cases = [Case(f"{i}.png", 0.5, "OK", [("truth and prediction", noise(i, 900, 1200))]) for i in range(3)]
    png = cv2.imencode(".png", noise(9, 300, 300))[1].tobytes()
    cases += [Case(f"{i}.png", 0.5, "NG", [("truth", png)]) for i in range(3)]
    text = evaluation_page(full(misses=cases * 2, false_alarms=cases * 2))
    pictures = re.findall(r'src="data:image/(?:jpeg|png);base64,([^"]+)"', text)
    assert len(pictures) == 24 and len(text) < 2_000_000
    for data in pictures[:6]:
        assert cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR) is not None


def test_a_picture_that_fits_stays_as_it_is_and_colours_keep_their_order():
    red = np.zeros((40, 50, 3), np.uint8)
    red[..., 0] = 250
    data = fitted_picture(red, 10_000)
    blue, green, back = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[20, 25].tolist()
    assert back > 240 and blue < 15 and green < 15
    assert fitted_picture(data, 10_000) is data
    assert fitted_picture(np.full((30, 20), 7, np.uint8), 10_000)[:2] == b"\xff\xd8"
    small = fitted_picture(noise(), 4000)
    assert len(small) <= 4000 and cv2.imdecode(np.frombuffer(small, np.uint8), 1).shape[1] < 448


def test_numbers_as_text():
    assert [percent(v) for v in (0, 1, 0.5, 0.025, 0.00012, 0.9999)] == [
        "0 %",
        "100 %",
        "50.0 %",
        "2.5 %",
        "0.012 %",
        "99.990 %",
    ]
    assert [amount(v) for v in (1234567, 1234.5, 0.12345, 0, -2)] == ["1,234,567", "1,234.50", "0.123", "0", "-2"]
    assert [score_text(v) for v in (0, 1, 0.12345, 0.99999999, 1e-9)] == ["0", "1", "0.1235", "0.99999999", "1e-09"]
