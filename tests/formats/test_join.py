"""One photograph in several sources becomes one sample, whatever its format, with the labels of all."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defectctl.dataset.store import load_dataset
from defectctl.dataset.types import Known, Object
from defectctl.errors import InputError
from defectctl.formats.base import ReadOptions
from defectctl.formats.labels import Labels, unite
from defectctl.formats.prepare import PrepareOptions, SourceOptions, prepare
from defectctl.imaging.masks import decode_index


def join(roots, out, way, **options):
    result = prepare(roots, out, PrepareOptions(join=way, **options))
    return result, load_dataset(out)


@pytest.mark.parametrize("way", ["name", "content"])
def test_boxes_and_masks_of_one_photograph_meet(folders, tmp_path, way):
    boxes = folders.voc_folder(tmp_path / "boxes", range(6), folder="photos")
    masks = folders.mask_folder(tmp_path / "masks", range(2, 9))
    read = {"masks": SourceOptions(read=ReadOptions(classes=("scratch",)))}
    result, dataset = join([boxes, masks], tmp_path / "out", way, of_source=read)
    samples = {sample.id: sample for sample in dataset.samples}
    assert set(samples) == {f"photos/{i}.jpg" for i in range(6)} | {f"images/{i}.png" for i in (6, 7, 8)}
    met = samples["photos/4.jpg"]
    assert met.source == "boxes" and dataset.known(met) == Known((2,), (1,), True) and met.present == (2,)
    assert dataset.image_path(met).read_bytes() == (boxes / "photos/4.jpg").read_bytes()
    assert met.objects == [Object(1, (8.0, 8.0, 20.0, 16.0))]
    assert np.array_equal(decode_index(dataset.mask_path(met).read_bytes()), folders.square(2))
    assert dataset.known(samples["photos/0.jpg"]) == Known((), (1,), True)
    assert dataset.known(samples["images/8.png"]) == Known((2,), (), True)
    assert any("joined by" in note and "4 images" in note and "3 of 'masks', 2 before" in note for note in result.notes)
    assert any("several sources: 4; in 4 of them boxes name a class" in note for note in result.notes)


def test_content_finds_reencoded_pictures_under_other_names(folders, tmp_path):
    boxes = folders.voc_folder(tmp_path / "boxes", range(40), names="a{}")
    masks = tmp_path / "masks"
    for i in range(40):
        grey = folders.picture(i)
        folders.put(masks / "x" / f"{(i * 7) % 40:02}.bmp", grey)
        folders.put(masks / "y" / f"{(i * 7) % 40:02}.png", folders.square(255))
        quality = [cv2.IMWRITE_JPEG_QUALITY, 60]
        (boxes / "images" / f"a{i}.jpg").write_bytes(cv2.imencode(".jpg", np.dstack([grey] * 3), quality)[1].tobytes())
    _, dataset = join([boxes, masks], tmp_path / "out", "content")
    assert len(dataset.samples) == 40 and all(sample.mask and sample.objects for sample in dataset.samples)


def test_equal_textures_of_other_parts_are_not_taken_for_copies(folders, tmp_path):
    noise = np.random.default_rng(0)
    for root in ("A", "B"):
        for i in range(5):
            folders.put(tmp_path / root / "images" / f"{root}{i}.png", noise.integers(124, 132, (64, 64), np.uint8))
            folders.put(tmp_path / root / "masks" / f"{root}{i}.png", np.eye(64, dtype=np.uint8) * 255)
    with pytest.raises(InputError, match="no image of 'B' is one of 'A'"):
        join([tmp_path / "A", tmp_path / "B"], tmp_path / "out", "content")


def test_of_two_equal_partners_the_one_of_the_same_number_is_taken_and_it_is_told(folders, tmp_path):
    boxes = folders.voc_folder(tmp_path / "boxes", range(4), names="dent_{}")
    masks = folders.mask_folder(tmp_path / "masks", range(4), names="De_{}")
    for copy in (boxes / "images/dent_3.jpg", masks / "images/De_3.png"):
        copy.write_bytes(copy.with_stem(copy.stem.replace("3", "1")).read_bytes())
    result, dataset = join([boxes, masks], tmp_path / "out", "content", maps=("defect=dent",))
    assert len(dataset.samples) == 4
    told = [finding for finding in result.findings if finding.problem == "several-partners"]
    assert [finding.file for finding in told] == ["masks/images/De_1.png", "masks/images/De_3.png"]
    assert "joined with 'images/dent_3.jpg'" in told[1].text


def test_ambiguous_names_are_an_error_that_names_the_files(folders, tmp_path):
    boxes = folders.voc_folder(tmp_path / "boxes", range(3), folder="photos")
    masks = tmp_path / "masks"
    for part in ("left", "right"):
        for i in (1, 2):
            folders.put(masks / "images" / part / f"{i}.png", folders.picture(i))
            folders.put(masks / "masks" / part / f"{i}.png", folders.square(255))
    with pytest.raises(InputError, match=r"'masks/images/left/\d.png' and 'masks/images/right/\d.png'"):
        join([boxes, masks], tmp_path / "out", "name")


def test_a_partner_of_another_size_stays_out_and_is_told(folders, tmp_path):
    boxes = folders.voc_folder(tmp_path / "boxes", range(3))
    masks = folders.mask_folder(tmp_path / "masks", range(3))
    folders.put(masks / "images/1.png", folders.picture(1, side=64))
    folders.put(masks / "masks/1.png", np.eye(64, dtype=np.uint8) * 255)
    result, dataset = join([boxes, masks], tmp_path / "out", "name")
    found = {finding.file: finding.problem for finding in result.findings}
    assert found == {"masks/images/1.png": "size-differs"}
    assert [bool(sample.mask) for sample in dataset.samples] == [True, False, True]


@pytest.mark.parametrize(
    "own, theirs, united, troubles",
    [
        (([1, 0, 0, 0], (1,)), ([0, 2, 0, 255], (2,)), [1, 2, 0, 255], 0),
        (([1, 1, 0, 0], (1,)), ([0, 2, 2, 0], (2,)), [1, 1, 2, 0], 1),  # one pixel, two classes: the first's
        (([1, 0, 0, 0], (1, 2)), ([0, 1, 0, 3], (1, 3)), [1, 0, 0, 3], 1),  # class 1 is the first's, 3 is added
        (([1, 0, 255, 255], (1,)), ([0, 0, 2, 0], (2,)), [1, 0, 2, 255], 0),
        (([1, 0, 0, 0], (1,)), ([1, 0, 0, 0], (1,)), [1, 0, 0, 0], 0),
    ],
)
def test_masks_of_two_sources_are_united_class_by_class(own, theirs, united, troubles):
    first, other = (Labels(Known(mask=known), np.array([row], np.uint8)) for row, known in (own, theirs))
    result, problems = unite(first, other)
    assert result.mask.tolist() == [united] and len(problems) == troubles
    assert result.known.mask == tuple(sorted({*own[1], *theirs[1]}))


def test_boxes_of_classes_that_the_first_does_not_know_are_added():
    first = Labels(Known(boxes=(1,)), objects=[Object(1, (0, 0, 2, 2))])
    other = Labels(Known(boxes=(1, 2)), objects=[Object(1, (5, 5, 9, 9)), Object(2, (1, 1, 3, 3))])
    result, problems = unite(first, other)
    assert [thing.label for thing in result.objects] == [1, 2] and result.objects[0].box == (0, 0, 2, 2)
    assert result.known.boxes == (1, 2) and [key for key, _ in problems] == ["boxes-differ"]
