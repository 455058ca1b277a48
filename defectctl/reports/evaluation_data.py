"""What the report of an evaluation tells, ready to be drawn; whatever is None is left out and said to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Picture = bytes | np.ndarray
"""A whole JPEG or PNG file, or `(H, W, 3)` uint8 RGB."""

Interval = tuple[float, float]
"""Lower and upper end of a confidence interval, in the unit of its value."""


_ABSENT = {
    "operating": "No verdicts were made, so there is no operating point to show.",
    "precision_recall": "No precision-recall curve: nothing ranks the parts or the pixels, or their truth is unknown.",
    "trade_off": "No curve of escapes against overkill: that takes scored parts, both good and defective ones.",
    "reliability": "No reliability diagram: that takes scored parts, both good and defective ones.",
    "scores": "No histogram of scores: no part has both a score and a known state.",
    "confusion": "No confusion matrix: there is no mask to hold against a known one.",
    "recall_by_class": "No recall by class: single defects are not known, or the model does not outline them.",
    "recall_by_size": "No recall by size: single defects are not known, or the model does not outline them.",
    "classes": "No figures by class: no label tells the classes apart, or the model does not.",
    "boxes": "No figures of boxes: the model detects none, or no true box is known.",
    "misses": "No pictures of misses were made.",
    "false_alarms": "No pictures of false alarms were made.",
}
"""Why a field is None, where the caller does not say."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence to know before the figures are read; a `serious` one makes them worthless as test figures."""

    text: str
    serious: bool = False


@dataclass(frozen=True, slots=True)
class Headline:
    """One line of the first table.

    Attributes:
        name: of the metric.
        value: None where it cannot be computed.
        meaning: in one line.
        interval: None where there is none.
        kind: `ratio` is written with three decimals, `percent` (of a share in 0..1) as 2.5 %, `number` as it is.
        counts: the two whole numbers that the value is the ratio of, written beside it.
        reason: why there is no value.
    """

    name: str
    value: float | None
    meaning: str
    interval: Interval | None = None
    kind: Literal["ratio", "percent", "number"] = "ratio"
    counts: tuple[int, int] | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Promise:
    """What was promised of parts of the same kind, and what that rests on.

    Attributes:
        what: `escape rate`, `overkill rate`, …
        limit: the promised highest rate, 0..1.
        confidence: 0..1.
        kept: whether the calibration parts carry it.
        basis: parts and groups it was calibrated on, or what they can carry and how many more are needed.
    """

    what: str
    limit: float
    confidence: float
    kept: bool
    basis: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What the verdicts cost at given prices.

    Attributes:
        escape, overkill: price of one.
        total: of all parts evaluated.
        per_part: of one part, as often good and defective as those evaluated.
        unsure: price of a part that a person looks at; None where it has none.
        note: e.g. what the cheapest threshold would cost.
    """

    escape: float
    overkill: float
    total: float
    per_part: float
    unsure: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The thresholds in force and what they decide.

    Attributes:
        ok: image score below which a part is OK; None: the same as `ng`.
        ng: image score from which a part is NG; None: a part is NG if any defect is reported.
        chosen: how they were chosen, a sentence.
        defective, good, unknown: parts of that truth called OK, UNSURE and NG.
        promises: none where nothing was promised.
        cost: None where no prices were given.
        notes: further sentences.
    """

    ok: float | None
    ng: float | None
    chosen: str
    defective: tuple[int, int, int]
    good: tuple[int, int, int]
    unknown: tuple[int, int, int] = (0, 0, 0)
    promises: Sequence[Promise] = ()
    cost: Cost | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Curve:
    """A line through points in 0..1, `x` rising; `label` (e.g. `AP 0.934`) stands in the legend behind the name."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    label: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A point to be seen on a curve."""

    name: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class TradeOff:
    """Escape rate (`y`) against overkill rate (`x`) over all thresholds, with the operating points on it."""

    curve: Curve
    marks: Sequence[Mark] = ()


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Parts with similar scores: their mean score, how many they are, how many of them are defective."""

    score: float
    parts: int
    defective: int
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class Reliability:
    """Share of defective parts against the score; `error` is the expected calibration error, 0..1."""

    bins: Sequence[ReliabilityBin]
    error: float | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """Image scores of good and of defective parts, 0..1."""

    good: Sequence[float] | np.ndarray
    defective: Sequence[float] | np.ndarray


@dataclass(frozen=True, slots=True)
class Confusion:
    """Pixels `[truth, prediction]`, `(C, C)`, and the C names, background first."""

    names: Sequence[str]
    matrix: np.ndarray


@dataclass(frozen=True, slots=True)
class RecallRow:
    """Defects of one class, or of one range of sizes, and how many of them were found."""

    name: str
    found: int
    total: int
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One class: shares in 0..1 or None, counts or None; colour RGB 0..255, None for background."""

    name: str
    colour: tuple[int, int, int] | None
    iou: float | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    pixels: int | None = None
    ap50: float | None = None
    ap: float | None = None
    boxes: int | None = None


@dataclass(frozen=True, slots=True)
class BoxScores:
    """Detected boxes of at least `score` at overlap 0.5, all classes together.

    Attributes:
        score: from which a box is reported.
        right, wrong, missed: boxes.
        ap_by_overlap: overlap and AP (mean over classes); empty where it is not known.
        curve: precision over recall; None where it is not known.
    """

    score: float
    right: int
    wrong: int
    missed: int
    ap_by_overlap: Sequence[tuple[float, float | None]] = ()
    curve: Curve | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One image to look at.

    Attributes:
        id: of the image.
        score: image score.
        verdict: `OK`, `UNSURE` or `NG`.
        pictures: caption and picture: truth and prediction side by side, or both outlined in one.
        remark: what is wrong with it, in a few words.
    """

    id: str
    score: float
    verdict: str
    pictures: Sequence[tuple[str, Picture]] = ()
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What the figures were made from; empty entries are left out.

    Attributes:
        dataset, split: fingerprints.
        model, sha256: the weights file (or the folder of masks) and its hash.
        training: facts of the training, name and value.
        command: the command line.
        environment: versions, device and the like, name and value.
        date: as the caller wants it to be read.
    """

    dataset: str = ""
    split: str = ""
    model: str = ""
    sha256: str = ""
    training: Mapping[str, object] = field(default_factory=dict)
    command: str = ""
    environment: Mapping[str, object] = field(default_factory=dict)
    date: str = ""


@dataclass(frozen=True, slots=True)
class EvaluationPage:
    """All that the page tells.

    Attributes:
        model: name of the model, or of the folder of masks.
        dataset, split, part: what was evaluated.
        images, good, defective, unknown: parts, by what is known of them.
        headline: most telling first.
        record: for the files.
        warnings: most serious first; the page itself tells of missing good or defective parts and of
            parts of unknown state.
        interval_level: of all intervals, 0..1.
        interval_note: how they were made, or why there are none.
        precision_recall: of parts, of pixels.
        scores: their thresholds are those of `operating`.
        size_note: e.g. the smallest defect found nine times out of ten.
        misses, false_alarms: worst first.
        absent: for a field that is None, the sentence that says why.
    """

    model: str
    dataset: str
    split: str
    part: str
    images: int
    good: int
    defective: int
    unknown: int
    headline: Sequence[Headline]
    record: Record
    warnings: Sequence[Notice] = ()
    interval_level: float = 0.95
    interval_note: str = ""
    operating: OperatingPoint | None = None
    precision_recall: Sequence[Curve] | None = None
    trade_off: TradeOff | None = None
    reliability: Reliability | None = None
    scores: Scores | None = None
    confusion: Confusion | None = None
    recall_by_class: Sequence[RecallRow] | None = None
    recall_by_size: Sequence[RecallRow] | None = None
    size_note: str = ""
    classes: Sequence[ClassScores] | None = None
    boxes: BoxScores | None = None
    misses: Sequence[Case] | None = None
    false_alarms: Sequence[Case] | None = None
    absent: Mapping[str, str] = field(default_factory=dict)

    def why_absent(self, key: str) -> str:
        """The sentence that stands where the field `key` would be drawn."""
        return self.absent.get(key) or _ABSENT[key]
