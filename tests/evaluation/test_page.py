"""What the report is told, for each kind of model and for masks, and that the files say the same."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from evaluation_toys import decided, scored_of, square, table_of

from defectctl.evaluation.asked import Asked
from defectctl.evaluation.files import write_files
from defectctl.evaluation.page import build_page
from defectctl.evaluation.result import build_result
from defectctl.metrics.boxes import Detections, match_image

QUICK = Asked(rounds=100)
DENT, HALF, NONE = square(20, (2, 2, 8, 8)), square(20, (2, 2, 8, 5)), square(20)
SECTIONS = ["Figures", "Operating point", "Curves", "Scores of good and defective parts", "Confusion of classes"]
SECTIONS += [
    "Defects found",
    "Figures by class",
    "Boxes",
    "Worst misses",
    "Worst false alarms",
    "For the record",
    "Signed",
]
DEVICE = {"device": "cpu", "name": "x86", "precision": "bf16", "seconds": 2.0, "images_per_second": 12.5}
PARTS = ["operating", "precision_recall", "trade_off", "reliability", "scores", "confusion", "recall_by_class"]
PARTS += ["recall_by_size", "classes", "boxes"]


def boxed(table):
    box = np.array([[2, 2, 8, 8]])
    sizes = [int(state == 1) for state in table.defective]
    found = [match_image(box[:n], [0.9] * n, [1] * n, box[:n], [1] * n, [False] * n, [True, True]) for n in sizes]
    table.detections = Detections.joined(found)
    return table


def segmented(maps: bool = True):
    return table_of([DENT, DENT, NONE, NONE], [HALF, NONE, NONE, DENT], [0.9, 0.1, 0.2, 0.7], [1, 1, 0, 0], maps=maps)


def cases():
    """Scored parts of each kind, and the sections that are left out."""
    boxless, masks = segmented(), segmented(maps=False)
    masks.score = (masks.score > 0.5).astype(float)
    single = table_of([NONE], [NONE], [0.0], [0])
    curves = ["precision_recall", "trade_off", "reliability", "scores"]
    outlines = ["confusion", "recall_by_class", "recall_by_size"]
    return {
        "segmentation": (scored_of(boxless), ["boxes"]),
        "multi-task": (
            scored_of(boxed(segmented()), ["segmentation", "detection", "decision"], box_score=0.5, device=DEVICE),
            [],
        ),
        "detection": (scored_of(boxed(decided([0.9, 0.1], [1, 0])), ["detection"], box_score=0.5), outlines),
        "decision": (scored_of(decided([0.9, 0.1], [1, 0]), ["decision"]), [*outlines, "classes", "boxes"]),
        "masks": (scored_of(masks, masks="predicted"), [*curves, "boxes"]),
        "one good part": (scored_of(single), [*curves[:3], "recall_by_class", "recall_by_size", "boxes"]),
        "nothing known": (
            scored_of(table_of([None], [DENT], [0.9], [-1])),
            [*curves, "confusion", "recall_by_class", "recall_by_size", "boxes"],
        ),
    }


class Reader(HTMLParser):
    """Headings, links and words of a page whose elements close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.headings, self.sources, self.names, self.words = [], [], [], set(), []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, name, attributes):
        self.names.add(name)
        self.sources += [value for key, value in attributes if key in ("src", "href", "xlink:href")]
        if name not in ("meta", "img"):
            self.open.append(name)
        if name == "h2":
            self.headings.append("")

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)
        if "h2" in self.open:
            self.headings[-1] += data


@pytest.mark.parametrize("kind", list(cases()))
def test_every_section_is_there_and_the_files_are_whole(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("defectctl.reports.confusion.draw_confusion", lambda *more: more[2].touch())
    scored, absent = cases()[kind]
    result = build_result(scored, Asked(cost_escape=500, cost_overkill=20, rounds=100))
    tmp_path.joinpath("o").mkdir()
    write_files(tmp_path / "o", scored, result, lambda row: {"picture": b"\xff\xd8\xff"})
    page = build_page(scored.table, result, [], [])
    assert [name for name in PARTS if getattr(page, name) is None] == [name for name in PARTS if name in absent]
    text = (tmp_path / "o" / "report.html").read_text(encoding="utf-8")
    read = Reader(text)
    assert read.headings == SECTIONS and not {"script", "link", "iframe"} & read.names
    assert all(source.startswith("data:image/") for source in read.sources)
    assert not re.search(r"https?:|url\(|@import|\bnan\b|\binf\b|None|Infinity", text)

    def refuse(word: str):
        raise AssertionError(f"{word} is no JSON")

    stored = json.loads((tmp_path / "o" / "metrics.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert stored == json.loads(json.dumps(result)) and next(iter(stored["metrics"])) == "defect_iou"
    rows = list(csv.DictReader((tmp_path / "o" / "images.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["id"] for row in rows] == scored.table.ids and None not in rows[0]


def test_the_page_tells_the_figures_of_metrics_json():
    scored = scored_of(segmented(), device=DEVICE, own_thresholds={"ng": 0.5})
    result = build_result(scored, Asked(cost_escape=500, cost_overkill=20, rounds=100))
    page = build_page(scored.table, result, [], [])
    assert (page.images, page.good, page.defective, page.unknown) == (4, 2, 2, 0) and page.model == "a"
    point = page.operating
    assert (point.defective, point.good, point.ng, point.ok) == ((1, 0, 1), (1, 0, 1), 0.5, None)
    assert (point.cost.total, point.cost.per_part) == (520, 130)
    assert [(row.name, row.found, row.total) for row in page.recall_by_class] == [("dent", 1, 2)]
    assert [(row.name, row.found, row.total) for row in page.recall_by_size] == [("16 to 63 px", 1, 2)]
    assert page.confusion.matrix.tolist() == [[4 * 400 - 72 - 36, 36], [54, 18]]
    assert (page.trade_off.marks[0].x, page.trade_off.marks[0].y) == (0.5, 0.5)
    assert page.classes[0].iou == pytest.approx(18 / 108) and page.classes[-1].name == "background"
    assert page.scores.defective.tolist() == [0.9, 0.1] and "no size" in page.size_note
    assert page.record.environment["device"] == "cpu (x86)" and "seconds" not in page.record.environment
    assert "4 images" in page.interval_note and page.interval_note.startswith("Intervals: 95 %")
    assert "Not calibrated" in point.chosen


def test_it_is_said_who_chose_the_threshold():
    def chosen(asked: Asked = QUICK, **about) -> str:
        scored = scored_of(segmented(), own_thresholds={"ng": 0.5}, **about)
        return build_page(scored.table, build_result(scored, asked), [], []).operating.chosen

    data = {"name": "steel", "split": "official", "part": "calibration", "images": 34}
    calibration = {"method": "f1", "thresholds": {"ng": 0.5}, "dataset": data, "date": "2030-01-02T03:04:05"}
    assert chosen().startswith("Not calibrated")
    told = chosen(calibration=calibration)
    assert told.startswith("Chosen for the best F1 on 34 parts of 'steel'") and told.endswith("2030-01-02.")
    asked = Asked({"ng": 0.8}, rounds=100)
    assert chosen(asked).startswith("Asked for") and chosen(asked, calibration=calibration).startswith("Asked for")


def test_groups_and_a_leak_are_told():
    leak = {"train_images": 4, "val_images": 0, "text": "LEAK: trained on them", "serious": True}
    table = segmented()
    table.groups = ["p", "p", "", "q"]
    scored = scored_of(table, leak=leak)
    page = build_page(table, build_result(scored, QUICK), [], [])
    assert "4 images in 3 independent groups" in page.interval_note
    assert page.warnings[0].serious and page.warnings[0].text == "LEAK: trained on them"


def test_confidence_is_not_rounded_up_to_certainty():
    scored = scored_of(segmented())
    page = build_page(scored.table, build_result(scored, Asked(confidence=0.999, rounds=100)), [], [])
    assert "99.9 %" in page.interval_note and "100" not in page.interval_note
