"""What stored mask values are taken for, and which are refused."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from defectctl.errors import InputError
from defectctl.formats.masks.mask_values import (
    AUTO,
    COLOUR,
    INDEX,
    MaskSurvey,
    check_class_names,
    decide_coding,
    file_values,
    parse_mask_values,
)


def png(values, palette=None):
    if palette is None:
        return cv2.imencode(".png", np.asarray(values, np.uint16 if np.max(values) > 255 else np.uint8))[1].tobytes()
    image = Image.fromarray(np.asarray(values, np.uint8))
    image.putpalette([part for colour in palette for part in colour])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def surveyed(files, reading=AUTO):
    survey = MaskSurvey()
    for name, data in files.items():
        survey.add(name, *file_values(data, name, reading))
    return survey


def decide(files, names=(), stated=None, one_class=False, reading=AUTO):
    return decide_coding(surveyed(files, reading), list(names), stated, one_class, reading)


def test_255_is_the_defect_and_never_becomes_unknown():
    data = png([[0, 255], [255, 0]])
    coding = decide({"a.png": data})
    assert coding.apply(data, "a.png").tolist() == [[0, 1], [1, 0]]
    assert coding.classes == ["defect"] and "255 is read as the defect" in coding.notes[0]


def test_16_bit_masks_of_0_and_65535_are_binary_too():
    data = png([[0, 65535]])
    assert decide({"a.png": data}).apply(data, "a.png").tolist() == [[0, 1]]


def test_consecutive_numbers_without_names_are_numbered_classes():
    coding = decide({"a.png": png([[0, 1, 3]]), "b.png": png([[0, 2, 2]])})
    assert coding.classes == ["class-1", "class-2", "class-3"]
    assert coding.lookup[:4].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "values, names, words",
    [
        ([0, 1, 2, 3, 7], ["a", "b", "c"], "holds the value 7, but there are 3 classes"),
        ([0, 1, 3], [], "holds the value 3, while no mask holds 2"),
        ([0, 1, 2, 255], [], "holds the value 255"),
        ([0, 1, 2, 255], ["a", "b"], "255=unknown"),
        ([0, 1, 255], [], "holds the value 255"),
        ([0, 128], [], "holds the value 128"),
        ([0, 2], ["a"], "but there is 1 class "),
    ],
)
def test_doubtful_values_are_refused_and_the_file_is_named(values, names, words):
    files = {"fine.png": png([[0, 1 if 1 in values else values[1]]]), "odd.png": png([values])}
    if 1 not in values:
        files.pop("fine.png")
    with pytest.raises(InputError, match=words) as caught:
        decide(files, names)
    assert "odd.png" in str(caught.value) and "--mask-values" in str(caught.value)


def test_the_users_mapping_decides():
    data = png([[0, 1, 7, 255]])
    coding = decide({"a.png": data}, stated={0: "background", 1: "scratch", 7: "Unknown", 255: "background"})
    assert coding.classes == ["scratch"] and coding.apply(data, "a").tolist() == [[0, 1, 255, 0]]
    with pytest.raises(InputError, match="holds the value 7, which the mapping does not name"):
        decide({"a.png": data}, stated={1: "scratch", 255: "unknown"})
    with pytest.raises(InputError, match="none of: dent"):
        decide({"a.png": data}, ["dent"], {1: "scratch", 7: "dent", 255: "unknown"})


def test_a_mapping_of_unknown_alone_leaves_the_rest_to_the_rules():
    data = png([[0, 1, 2, 255]])
    coding = decide({"a.png": data}, stated={255: "unknown"})
    assert coding.classes == ["class-1", "class-2"] and coding.apply(data, "a").tolist() == [[0, 1, 2, 255]]


def test_several_values_may_share_a_class_and_classes_may_reorder_them():
    data = png([[0, 1, 2, 3]])
    coding = decide({"a.png": data}, ["dent", "scratch"], {1: "scratch", 2: "dent", 3: "scratch"})
    assert coding.apply(data, "a").tolist() == [[0, 2, 1, 2]]


def test_stray_greys_of_a_binary_source_are_thresholded_and_the_file_named():
    plain = png(np.full((30, 30), 255))
    stray = png(np.r_[np.full((20, 30), 2), [[1] * 2 + [0] * 28]], palette=[(0,) * 3, (85,) * 3, (255,) * 3])
    coding = decide({"plain.png": plain, "stray.png": stray})
    assert [finding.file for finding in coding.findings] == ["stray.png"]
    mask = coding.apply(stray, "stray.png")
    assert mask[:20].min() == 1 and mask[20].max() == 0


def test_jpeg_masks_are_thresholded():
    truth = np.zeros((64, 64), np.uint8)
    truth[13:45, 19:50] = 255
    data = cv2.imencode(".jpg", truth, [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes()
    coding = decide({"a.jpg": data})
    assert ((coding.apply(data, "a.jpg") == 1) != (truth > 0)).mean() < 0.01
    assert "smeared" in coding.notes[0]


def test_a_classes_mask_of_one_class_takes_the_samples_class():
    data = png([[0, 255]])
    coding = decide({"a.png": data}, ["in", "pa"], one_class=True)
    assert coding.apply(data, "a.png", 2).tolist() == [[0, 2]]
    with pytest.raises(InputError, match="--classes-from"):
        decide({"a.png": png([[0, 1, 2]])}, ["in", "pa"], one_class=True)


def test_indices_count_whatever_grey_the_palette_shows():
    # Pascal VOC's index 7 looks grey (128, 128, 128) beside coloured neighbours.
    palette = [(0, 0, 0), *[(128, 0, 0)] * 6, (128, 128, 128)]
    data = png([[0, 7]], palette)
    assert decide({"a": data}, stated={7: "car", 255: "unknown"}, reading=INDEX).apply(data, "a").tolist() == [[0, 1]]


def test_colours_are_read_where_the_format_names_them_and_refused_elsewhere():
    pixels = np.array([[[0, 0, 0], [255, 0, 0], [0, 128, 0]]], np.uint8)
    data = cv2.imencode(".png", pixels[:, :, ::-1])[1].tobytes()
    with pytest.raises(InputError, match=r"'a\.png' is a colour picture"):
        decide({"a.png": data})
    stated = {0: "background", 0xFF0000: "red", 0x008000: "green"}
    coding = decide({"a.png": data}, ["red", "green"], stated, reading=COLOUR)
    assert coding.apply(data, "a.png").tolist() == [[0, 1, 2]]
    with pytest.raises(InputError, match="#008000"):
        decide({"a.png": data}, ["red"], {0: "background", 0xFF0000: "red"}, reading=COLOUR)


def test_mask_values_are_parsed_from_text_and_files(tmp_path):
    wanted = {0: "background", 1: "scratch", 255: "unknown"}
    assert parse_mask_values("0=background, 1=scratch,255=unknown") == wanted
    (tmp_path / "values.yaml").write_text("0: background\n1: scratch\n255: unknown\n", encoding="utf-8")
    (tmp_path / "values.json").write_text('{"0": "background", "1": "scratch", "255": "unknown"}', encoding="utf-8")
    assert parse_mask_values(str(tmp_path / "values.yaml")) == wanted
    assert parse_mask_values(str(tmp_path / "values.json")) == wanted


@pytest.mark.parametrize("text", ["scratch=1", "1", "", "70000=a", "1=", "missing.yaml"])
def test_broken_mask_values_are_refused(text):
    with pytest.raises(InputError, match=r"mask-values|mapping file"):
        parse_mask_values(text)


@pytest.mark.parametrize("names", [["a", "A"], [""], ["background"], ["Unknown"], [f"c{i}" for i in range(255)]])
def test_bad_class_names_are_refused(names):
    with pytest.raises(InputError):
        check_class_names(names)
