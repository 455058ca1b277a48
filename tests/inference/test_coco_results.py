"""COCO results: run-lengths as pycocotools makes them, and a file that it loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from defectctl.imaging.components import find_components
from defectctl.inference.coco_results import CocoResults, outlines


def drawings() -> list[np.ndarray]:
    blank, full = np.zeros((5, 7), np.uint8), np.ones((5, 7), np.uint8)
    column, corner, ring = blank.copy(), blank.copy(), blank.copy()
    column[:, 2:5] = 1  # runs that go on at the top of the next column
    corner[0, 0] = corner[4, 6] = 2
    ring[1:4, 1:6], ring[2, 2:5] = 1, 0
    noise = [np.random.default_rng(seed).integers(0, 3, (23, 17)).astype(np.uint8) for seed in range(3)]
    line = np.array([[1, 0, 1, 1, 2]], np.uint8)
    return [blank, full, column, corner, ring, line, line.T.copy(), *noise]


@pytest.mark.parametrize("class_map", drawings())
def test_run_lengths_are_those_of_pycocotools(class_map: np.ndarray) -> None:
    ids, components = find_components(class_map)
    expected = [coco_mask.encode(np.asfortranarray(ids == c.index, np.uint8)) for c in components]
    assert outlines(class_map) == [{"size": list(e["size"]), "counts": e["counts"].decode()} for e in expected]


def row(file: str, class_map: np.ndarray | None, **more: object) -> dict:
    if class_map is None:
        return {"file": file, "width": None, "height": None, "defects": []}
    _, components = find_components(class_map)
    found = [
        {"class": f"class {c.label}", "score": 0.5, "box": list(c.box), "area": c.area, "rle": rle}
        for c, rle in zip(components, outlines(class_map), strict=True)
    ]
    return {"file": file, "width": class_map.shape[1], "height": class_map.shape[0], "defects": found, **more}


def test_pycocotools_loads_images_categories_and_masks(tmp_path: Path) -> None:
    maps = {f"деталь {n}.png": drawing for n, drawing in enumerate(drawings())}
    with CocoResults(tmp_path, ["class 1", "class 2"], by_masks=True) as results:
        for file, class_map in maps.items():
            results.add(row(file, class_map))
            results.add(row("unreadable " + file, None))
    (tmp_path / "predictions.coco.json").read_text("ascii")  # pycocotools opens it in the system's encoding
    loaded = COCO(tmp_path / "predictions.coco.json")
    assert {image["file_name"] for image in loaded.dataset["images"]} == set(maps)
    assert loaded.getCatIds(catNms=["class 2"]) == [2]
    for image in loaded.loadImgs(loaded.getImgIds()):
        drawn = np.zeros((image["height"], image["width"]), np.uint8)
        for found in loaded.loadAnns(loaded.getAnnIds(image["id"])):
            mask = loaded.annToMask(found)
            drawn[mask > 0] = found["category_id"]
            ys, xs = np.nonzero(mask)
            x, y, width, height = found["bbox"]
            assert (x, y) == (xs.min(), ys.min()) and (x + width, y + height) == (xs.max() + 1, ys.max() + 1)
            assert found["area"] == mask.sum() and found["score"] == 0.5
        assert np.array_equal(drawn, maps[image["file_name"]])
    again = loaded.loadRes(loaded.dataset["annotations"])
    assert len(again.anns) == len(loaded.anns)


def test_boxes_alone_and_images_without_any(tmp_path: Path) -> None:
    boxes = [{"class": "dent", "score": 0.9, "box": [1.5, 2, 4, 6.25]}]
    with CocoResults(tmp_path, ["dent"], by_masks=False) as results:
        results.add({"file": "a.png", "width": 9, "height": 9, "defects": [], "boxes": boxes})
        results.add({"file": "b.png", "width": 9, "height": 9, "defects": [], "boxes": []})
    loaded = COCO(tmp_path / "predictions.coco.json")
    assert [found["bbox"] for found in loaded.dataset["annotations"]] == [[1.5, 2, 2.5, 4.25]]
    assert loaded.dataset["annotations"][0]["area"] == pytest.approx(10.62, abs=0.01) and len(loaded.imgs) == 2


def test_nothing_at_all_is_a_file_too_and_an_error_leaves_none(tmp_path: Path) -> None:
    with CocoResults(tmp_path, ["dent"], by_masks=True):
        pass
    empty = json.loads((tmp_path / "predictions.coco.json").read_bytes())
    assert empty["images"] == empty["annotations"] == []
    (tmp_path / "predictions.coco.json").unlink()
    with pytest.raises(KeyError), CocoResults(tmp_path, ["dent"], by_masks=True) as results:
        results.add({"file": "a.png"})
    assert list(tmp_path.iterdir()) == []


def test_defects_of_an_earlier_run_without_run_lengths_are_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = row("a.png", drawings()[1])
    del old["defects"][0]["rle"]
    with CocoResults(tmp_path, ["class 1"], by_masks=True) as results:
        results.add(old)
    assert "1 defects of an earlier run" in capsys.readouterr().err
    assert len(COCO(tmp_path / "predictions.coco.json").anns) == 1
