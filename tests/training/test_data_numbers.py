"""The smallest area from labels, and the metrics that may select."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from training_toys import toy_preset

from defectctl.errors import InputError
from defectctl.metrics.table import ImageTable
from defectctl.training.data_numbers import resolve_preset, smallest_area, survey_labels
from defectctl.training.validation import check_select, metric_keys, summarise


def test_smallest_area_is_half_of_the_smallest_percent():
    assert smallest_area(np.arange(100, 400)) == 51  # 1 % of 300 areas: the third smallest, 102
    assert smallest_area(np.array([1])) == 1 and smallest_area(np.array([], np.int64)) == 1


def test_survey_counts_components_and_pixels_of_known_masks():
    first, second = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    first[1:3, 1:3], first[5:8, 5:8], second[0], second[4, 4] = 1, 2, 255, 1
    masks = {"a": first, "b": second, "c": None}
    pictures = SimpleNamespace(mask=lambda sample: masks[sample.id])
    survey = survey_labels([SimpleNamespace(id=i) for i in "cab"], pictures, 2)
    assert survey.masks == 2 and survey.areas.tolist() == [1, 4, 9] and survey.pixels.tolist() == [106, 5, 9]
    assert resolve_preset(toy_preset(), survey).predict.min_area == 1


def test_a_number_in_the_preset_is_kept():
    preset = toy_preset()
    fixed = preset.model_copy(update={"predict": preset.predict.model_copy(update={"min_area": 7})})
    assert resolve_preset(fixed, SimpleNamespace(areas=np.array([100]))).predict.min_area == 7


def test_select_knows_the_metrics():
    assert {"val/defect_iou", "val/miou", "val/miou_defects"} <= set(metric_keys())
    check_select("val/miou")
    with pytest.raises(InputError, match="did you mean 'val/miou'"):
        check_select("val/mio")
    for more_is_not_better in ("val/unknown_share", "val/image_iou_std"):
        with pytest.raises(InputError, match="no metric"):
            check_select(more_is_not_better)


@pytest.mark.parametrize(("images", "expected"), [(5, "no training mask"), (5000, "masks looked at shows scratch")])
def test_a_warning_claims_no_more_than_was_looked_at(images, expected, capsys):
    from defectctl.training.launch import _tell_labels

    sample = SimpleNamespace(mask="masks/a.png")
    job = SimpleNamespace(train=[sample] * images, dataset=SimpleNamespace(class_names=["patch", "scratch"]))
    _tell_labels(job, SimpleNamespace(masks=1667, pixels=np.array([90, 5, 0]), areas=np.array([5])))
    assert expected in (warned := capsys.readouterr().err) and ("cannot learn" in warned) == (images == 5)


def test_masks_outside_the_surveyed_ones_are_still_masks(capsys):
    from defectctl.training.launch import _tell_labels

    bare = SimpleNamespace(mask=None)
    dataset = SimpleNamespace(class_names=["patch"], known=lambda sample: SimpleNamespace(mask=()))
    job = SimpleNamespace(train=[bare] * 2999 + [SimpleNamespace(mask="masks/a.png")], dataset=dataset)
    _tell_labels(job, SimpleNamespace(masks=0, pixels=np.zeros(2, int), areas=np.zeros(0)))
    assert "none of the 0 training masks looked at" in capsys.readouterr().err


def test_summary_names_classes_that_are_there_but_never_predicted():
    confusion = np.zeros((1, 3, 3), np.int64)
    confusion[0] = [[50, 2, 0], [1, 9, 0], [6, 0, 0]]
    table = ImageTable(
        ["x"],
        ["patch", "scratch"],
        confusion,
        np.zeros(1),
        np.zeros(1),
        np.ones(1),
        np.ones((1, 3), bool),
        np.zeros((1, 256)),
        np.zeros((1, 256)),
    )
    found = summarise(table)
    assert found.silent == ["scratch"] and found.metrics["val/iou/patch"] == pytest.approx(9 / 12)
    assert found.metrics["val/defect_iou"] == pytest.approx(9 / 18)
