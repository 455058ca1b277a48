"""`defectctl evaluate` as a user calls it: output, exit codes, and what a mistake costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from defectctl.cli.app import main
from defectctl.cli.evaluate import report
from defectctl.dataset.splits import split_fingerprint
from defectctl.dataset.types import ClassInfo, Known, Sample, Source, Split
from defectctl.dataset.writer import DatasetWriter
from defectctl.fileio import sha256_bytes, write_bytes
from defectctl.imaging.masks import encode_mask

COLOURS = [(230, 159, 0)]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset of two pictures in ./data/tiny, 10x10 with a 2-pixel scratch, and blank masks for them in ./masks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEFECTCTL_MODEL", raising=False)
    image = cv2.imencode(".png", np.full((10, 10), 90, np.uint8))[1].tobytes()
    mask = np.zeros((10, 10), np.uint8)
    mask[0, :2] = 1
    sources = {"raw": Source("raw", "mask-folders", Known(mask=(1,)))}
    with DatasetWriter(tmp_path / "data" / "tiny", "tiny", [ClassInfo("scratch", COLOURS[0])], sources) as writer:
        for name in ("a.png", "b.png"):
            writer.add(Sample(name, "", 10, 10, sha256_bytes(image), "raw"), image, encode_mask(mask, COLOURS))
            write_bytes(tmp_path / "masks" / name, encode_mask(np.zeros_like(mask), COLOURS))
        parts = {"train": [], "val": [], "test": ["a.png", "b.png"]}
        writer.finish([Split("random", "seeded", 0, parts, split_fingerprint(parts))], "random", {})
    return tmp_path / "data" / "tiny"


def test_the_table_leads_with_the_defect_and_the_escapes(data: Path, capsys: pytest.CaptureFixture):
    """Nothing is found: mIoU still looks like 0.49, so the first line must say 0."""
    assert main(["evaluate", "--masks", "masks"]) == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    first = next(n for n, words in enumerate(lines) if words[:2] == ["defect", "IoU"])
    assert lines[first][2] == "0.000"
    assert lines[first + 1][:4] == ["escapes", "2", "of", "2"]
    assert any(words[:2] == ["mIoU", "0.490"] for words in lines[first + 2 :])
    assert "never found although it is there: scratch" in err


def test_json_is_one_document_and_nothing_else(data: Path, capsys: pytest.CaptureFixture):
    assert main(["evaluate", "--masks", "masks", "--json", "--out", "o"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["metrics"]["defect_iou"] == 0.0 and result["parts"]["escapes"] == 2
    stored = json.loads(Path("o", "metrics.json").read_text(encoding="utf-8"))
    assert {k: result[k] for k in stored} == stored


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--masks", "masks", "--model", "m"], "not both"),
        (["--masks", "nowhere"], "nowhere"),
        (["--masks", "masks", "--part", "testt"], "did you mean 'test'"),
        (["--part", "val", "--masks", "masks"], "no image"),
        (["--masks", "masks", "--data", "missing"], "missing"),
        ([], "no finished run"),
        (["--model", "broken.safetensors"], "broken.safetensors"),
        (["--device", "tpu"], "tpu"),
        (["--precision", "half"], "half"),
        (["--batch-size", "0"], "batch-size"),
        (["--maks", "x"], "--maks"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing_behind(
    data: Path, capsys: pytest.CaptureFixture, arguments: list[str], word: str
):
    Path("broken.safetensors").write_bytes(b"nonsense")
    before = sorted(Path().rglob("*"))
    assert main(["evaluate", *arguments]) == 2
    out, err = capsys.readouterr()
    assert word in err and err.startswith("error: ") and len(err.splitlines()) == 1 and out == ""
    assert sorted(Path().rglob("*")) == before


def test_a_mistake_is_told_without_torch(data: Path):
    code = (
        "import sys; from defectctl.cli.app import main\n"
        "assert main(['evaluate', '--model', 'none.safetensors']) == 2\n"
        "assert not {'torch', 'matplotlib', 'timm'} & set(sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{code}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def shown(capsys: pytest.CaptureFixture, tasks: list[str], **figures) -> str:
    from defectctl.metrics.summary import all_metrics
    from defectctl.metrics.table import ImageTable

    nothing = np.zeros((1, 256))
    table = ImageTable(["a"], ["dent"], np.zeros((1, 2, 2)), [0], [0.9], [1], np.zeros((1, 2), bool), nothing, nothing)
    parts = {"escapes": 1, "defective_parts": 3, "overkill": 0, "good_parts": 2, "unsure": 0}
    about = {"name": "steel", "split": "official", "part": "test", "images": 5}
    parts |= {"escape_rate": 1 / 3, "overkill_rate": 0.0}
    result = {
        "dataset": about,
        "metrics": {**all_metrics(table), **figures},
        "parts": parts,
        "tasks": tasks,
        "masks": None,
        "intervals": {"escape_rate": {"low": 0.0084, "high": 0.906}},
        "confidence": 0.95,
        "cost": None,
        "files": {"report": "o/report.html"},
    }
    report(result, as_json=False)
    return capsys.readouterr().out


def test_a_detector_is_told_of_by_its_boxes(capsys: pytest.CaptureFixture):
    rows = {"dent": {"ap50": 0.75, "ap": 0.5, "boxes": 1234}}
    words = [line.split() for line in shown(capsys, ["detection"], map50=0.75, map=0.5, per_class=rows).splitlines()]
    first = next(n for n, line in enumerate(words) if line[:1] == ["mAP50"])
    assert words[first][1] == "0.750" and words[first + 1][:2] == ["mAP", "0.500"]
    assert words[first + 2][:4] == ["escapes", "1", "of", "3"] and "0.84 % to 90.6 %" in " ".join(words[first + 2])
    assert ["dent", "0.750", "0.500", "1,234"] in words
    assert not any(word in line for line in words for word in ("IoU", "MPA", "background"))


def test_a_decision_is_told_of_by_its_ranking(capsys: pytest.CaptureFixture):
    best = {"f1": 0.8, "threshold": 0.4, "tp": 3, "fp": 1, "fn": 0, "tn": 1}
    figures = {"image_ap": 0.9, "image_auroc": 0.85, "best_f1": best, "fp_at_full_recall": 1}
    out = shown(capsys, ["decision"], **figures)
    assert "image AP" in out and "0.900" in out and "at score 0.400: TP 3, FP 1, FN 0, TN 1" in out
    assert "1 of 2" in out and "class" not in out and "IoU" not in out
