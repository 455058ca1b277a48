"""Runs `defectctl prepare` on a broken raw folder and holds it to the promises that all kinds of breakage share."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from defectctl.cli.app import main
from defectctl.formats.base import IMAGE_ENDINGS, UNREAD_ENDINGS
from defectctl.formats.registry import READERS

SIDE = 24


@dataclass
class Told:
    """What a run told: exit code, stderr, ids of the samples, findings as `(file, problem) -> text`.

    `taken` holds the raw files that became samples, found by their bytes where the id is another name.
    """

    code: int
    err: str
    samples: list[str] = field(default_factory=list)
    findings: dict[tuple[str, str], str] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)

    def finding(self, file: str, problem: str) -> str:
        assert (file, problem) in self.findings, f"told: {sorted(self.findings)}"
        return self.findings[file, problem]


def encoded(pixels, ending=".png"):
    done, data = cv2.imencode(ending, np.asarray(pixels))
    assert done
    return data.tobytes()


def picture(seed=0, channels=1, kind=np.uint8):
    shape = (SIDE, SIDE) if channels == 1 else (SIDE, SIDE, channels)
    return np.random.default_rng(seed).integers(20, 230, shape).astype(kind)


def square(value=255):
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[4:12, 6:14] = value
    return mask


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else encoded(data, path.suffix))
    return path


def mask_pairs(raw, count=4, value=255):
    """Sound images `s0.png`, … with masks of one square, the last of them good."""
    for i in range(count):
        put(raw / "images" / f"s{i}.png", picture(i))
        put(raw / "masks" / f"s{i}.png", square(value if i < count - 1 else 0))
    return raw


def voc_text(objects=(("dent", (3, 3, 10, 10)),), size=(SIDE, SIDE), filename="", head="<annotation>"):
    text = f"{head}<filename>{filename}</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>"
    for name, corners in objects:
        edges = "".join(
            f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
        )
        text += f"<object><name>{name}</name><bndbox>{edges}</bndbox></object>"
    return (text + "</annotation>").encode()


def voc_pairs(raw, count=3):
    for i in range(count):
        put(raw / "images" / f"s{i}.png", picture(i))
        put(raw / "xml" / f"s{i}.xml", voc_text())
    return raw


def coco_content(count=3):
    box = {"category_id": 1, "iscrowd": 0, "bbox": [3, 3, 8, 8], "area": 64}
    return {
        "images": [{"id": i, "file_name": f"s{i}.png", "width": SIDE, "height": SIDE} for i in range(count)],
        "annotations": [
            {"id": i, "image_id": i, "segmentation": [[3, 3, 11, 3, 11, 11, 3, 11]], **box} for i in range(count)
        ],
        "categories": [{"id": 1, "name": "dent"}],
    }


def coco_set(raw, content, count=3):
    for i in range(count):
        put(raw / "images" / f"s{i}.png", picture(i))
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    put(raw / "labels.json", data)
    return raw


def yolo_set(raw, lines, count=3):
    put(raw / "data.yaml", b"train: images/train\nval: images/train\nnames: [dent]\n")
    for i in range(count):
        put(raw / "images/train" / f"s{i}.png", picture(i))
        put(raw / "labels/train" / f"s{i}.txt", (lines if i == 0 else "0 0.5 0.5 0.25 0.25").encode())
    return raw


def _tree(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")} if folder.exists() else None


@pytest.fixture
def prepare(tmp_path, capfd):
    """Run `prepare RAW --out OUT` and check what holds for every input; returns `Told`."""

    def run(raw: Path, *options: str, code: int | None = 0, out: Path | None = None) -> Told:
        out = out or tmp_path / "out"
        before = _tree(out)
        kept = {path: path.read_bytes() for path in raw.rglob("*") if path.is_file() and os.access(path, os.R_OK)}
        capfd.readouterr()
        got = main(["prepare", str(raw), "--out", str(out), "--json", *options])
        stdout, err = capfd.readouterr()
        assert "Traceback" not in err and "fault in defectctl" not in err
        assert all(path.read_bytes() == data for path, data in kept.items()), "the raw folder was changed"
        assert code is None or got == code, err
        if got not in (0, 3):
            lines = err.strip().splitlines()
            assert lines[-1].startswith("error: ") and sum(line.startswith("error:") for line in lines) == 1
            assert _tree(out) == before, "something was left behind"
            return Told(got, err)
        document = json.loads(stdout)
        findings = document["advice"] + document["findings"]
        rows = (out / "samples.jsonl").read_text("utf-8").splitlines()
        samples = {row["id"]: row["sha256"] for row in map(json.loads, rows)}
        told = Told(got, err, list(samples))
        renamed = {digest for name, digest in samples.items() if not (raw / name).is_file()}
        told.taken = {path.relative_to(raw).as_posix() for path, data in kept.items() if _hash(data) in renamed}
        told.taken |= {name for name in samples if (raw / name).is_file()}
        told.findings = {(f["file"], f["problem"]): f["text"] for f in findings}
        told.dropped = {f["file"] for f in findings if f["left_out"]}
        if findings:
            table = csv.DictReader(io.StringIO((out / "findings.csv").read_text("utf-8"), newline=""))
            assert [(row["file"], row["text"]) for row in table] == [(f["file"], f["text"]) for f in findings]
        _none_lost(raw, told)
        return told

    return run


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _none_lost(raw: Path, told: Told) -> None:
    """Every image file is a sample, or a finding speaks of it, of its mask, or of its whole folder."""
    files = {file for file, _ in told.findings}
    stems = {Path(name).stem.casefold() for name in (*files, *told.taken)}
    for path in raw.rglob("*"):
        # as findings show a name that is no valid text
        name = path.relative_to(raw).as_posix().encode("utf-8", "backslashreplace").decode()
        if path.suffix.lower() not in (*IMAGE_ENDINGS, *UNREAD_ENDINGS) or path.name.startswith("."):
            continue
        told_of = name.rpartition("/")[0] in files or Path(name).stem.casefold() in stems
        told_of = told_of or any(f"'{name}'" in text for text in told.findings.values())
        assert told_of, f"'{name}' is lost; told: {sorted(told.findings)}"


@pytest.fixture
def make():
    """The makers above."""
    return SimpleNamespace(
        put=put,
        encoded=encoded,
        picture=picture,
        square=square,
        mask_pairs=mask_pairs,
        voc_pairs=voc_pairs,
        voc_text=voc_text,
        coco_set=coco_set,
        coco_content=coco_content,
        yolo_set=yolo_set,
        readers=READERS,
    )
