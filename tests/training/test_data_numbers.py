"""Numbers derived from labels, by hand, and the metrics that may select."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from training_toys import toy_preset

from defectctl.errors import InputError
from defectctl.training.data_numbers import (
    LabelSurvey,
    balanced_weights,
    kernel_shares,
    needs_survey,
    resolve_preset,
    smallest_area,
    survey_labels,
    usual_share,
)
from defectctl.training.validation import check_select, metric_keys


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
    assert survey.pixels_beside.tolist() == [120, 120, 64]  # 64 and 56 known pixels; class 2 is in the first only
    assert survey.image_sizes.tolist() == [[8, 8]] * 3 and survey.shares.tolist() == [1 / 64, 4 / 64, 9 / 64]
    assert resolve_preset(toy_preset(), survey).predict.min_area == 1


def survey_of(areas: list[int], image_sizes: list[list[int]], pixels=(0, 0), beside=(0, 0)) -> LabelSurvey:
    sizes = np.array(image_sizes, np.int64).reshape(-1, 2)
    return LabelSurvey(1, np.array(pixels), np.array(beside), np.array(areas, np.int64), sizes)


def test_class_weights_are_the_median_frequency_over_each():
    # Frequencies .9, .2 (10 of the 50 pixels of its images), .05: median .2. The last class has no pixel.
    weights = balanced_weights(np.array([90, 10, 5, 0]), np.array([100, 50, 100, 0]))
    assert weights == pytest.approx([0.2222, 1, 4, 1])
    assert balanced_weights(np.array([9999, 5000, 1]), np.array([10000] * 3)) == [0.5001, 1.0, 10.0]
    assert balanced_weights(np.array([5, 100, 10000]), np.array([10000] * 3))[2] == 0.1
    assert balanced_weights(np.zeros(2, int), np.zeros(2, int)) == [1.0, 1.0]


def test_kernel_shares_by_diameter():
    # Equivalent diameters in cells of 8 pixels: 2, 3.9, 4.1, 5.9, 6.1, 40.
    areas = np.pi / 4 * (8 * np.array([2, 3.9, 4.1, 5.9, 6.1, 40])) ** 2
    assert kernel_shares(areas, (3, 5, 7), 8) == [0.3333] * 3
    assert kernel_shares(areas[:4], (3, 5, 7), 8) == [0.5, 0.5, 0.0]
    assert kernel_shares(np.pi / 4 * (4 * np.array([4.9, 5.1, 9, 70])) ** 2, (3, 7), 4) == [0.25, 0.75]
    assert kernel_shares(np.zeros(0), (3, 7), 4) == [0.5, 0.5]


def test_usual_share_is_the_geometric_mean():
    assert usual_share(np.array([1.0, 100.0]), (10, 100)) == pytest.approx(0.01)
    assert usual_share(np.zeros(0), (10, 10)) == 0.01
    assert usual_share(np.array([5000.0]), (10, 10)) == 1.0


def test_areas_in_the_network_follow_the_input_mode():
    survey = survey_of([100, 400], [[200, 100], [400, 400]])
    config = toy_preset().input
    modes = {
        mode: config.model_copy(update={"mode": mode, "size": (200, 200)}) for mode in ("resize", "stretch", "tile")
    }
    found = {mode: survey.network_areas(config).tolist() for mode, config in modes.items()}
    assert found == {"resize": [100, 100], "stretch": [200, 100], "tile": [100, 400]}


def test_every_auto_becomes_a_number_and_numbers_stay():
    preset = toy_preset(class_weights="auto", dynamic_threshold={"reference": "auto"})
    options = {"branch_shares": "auto", "ela_shares": "auto", "anchors": "auto", "ela": "dual"}
    preset = preset.model_copy(update={"model": preset.model.model_copy(update=options)})
    assert needs_survey(preset)
    # 32 x 32 images into 32 x 32: diameters of 24 and 56 pixels are 3 and 7 cells of 8, 6 and 14 cells of 4.
    survey = survey_of([452, 2463], [[32, 32]] * 2, (900, 100), (1000, 1000))
    found = resolve_preset(preset, survey, np.array([[2.0, 2.0]]))
    assert found.train.class_weights == pytest.approx([0.5556, 5.0])
    assert found.train.dynamic_threshold.reference == 1.0  # 1055 pixels of 1024: no share is above 1
    assert found.predict.min_area == 226
    assert found.model.options == {
        "branch_shares": [0.5, 0.0, 0.5],
        "ela_shares": [0.0, 1.0],
        "anchors": found.model.options["anchors"],
        "ela": "dual",
    }
    assert len(found.model.options["anchors"]) == 18 and found.model.options["anchors"][:2] == [0.5, 0.65]
    assert not needs_survey(found)
    assert resolve_preset(found, survey_of([9], [[9, 9]]), np.array([[30.0, 1.0]])) == found
    assert preset.model.options["anchors"] == "auto"  # the preset handed in is left alone


def test_what_is_not_looked_at_stays_open_or_is_switched_off():
    preset = toy_preset(class_weights="auto")
    options = {"branch_shares": "auto", "anchors": "auto"}
    preset = preset.model_copy(update={"model": preset.model.model_copy(update=options)})
    assert resolve_preset(preset, survey_of([4], [[8, 8]])).model.options["anchors"] == "auto"
    found = resolve_preset(preset, None)
    assert found.predict.min_area == "auto" and found.train.class_weights is None
    assert found.model.options == {"branch_shares": "none", "anchors": "auto"} and needs_survey(found)


@pytest.mark.parametrize("key", ["min_area", "class_weights", "dynamic_threshold", "anchors", "ela_shares"])
def test_any_auto_asks_for_the_labels(key):
    preset = toy_preset()
    preset = preset.model_copy(update={"predict": preset.predict.model_copy(update={"min_area": 7})})
    assert not needs_survey(preset)
    parts = {"min_area": "predict", "anchors": "model", "ela_shares": "model"}
    part = parts.get(key, "train")
    value = "auto" if key != "dynamic_threshold" else SimpleNamespace(reference="auto")
    assert needs_survey(preset.model_copy(update={part: getattr(preset, part).model_copy(update={key: value})}))


def test_a_number_in_the_preset_is_kept():
    preset = toy_preset()
    fixed = preset.model_copy(update={"predict": preset.predict.model_copy(update={"min_area": 7})})
    assert resolve_preset(fixed, survey_of([100], [[20, 20]])).predict.min_area == 7


def test_select_knows_the_metrics():
    assert {"val/defect_iou", "val/miou", "val/miou_defects"} <= set(metric_keys())
    check_select("val/miou")
    with pytest.raises(InputError, match="did you mean 'val/miou'"):
        check_select("val/mio")
    for more_is_not_better in ("val/unknown_share", "val/image_iou_std"):
        with pytest.raises(InputError, match="no metric"):
            check_select(more_is_not_better)


def told_of_labels(capsys, images, needs, objects=()):
    from defectctl.training.launch import _tell_labels

    sample = SimpleNamespace(mask="masks/a.png", objects=[SimpleNamespace(label=label) for label in objects])
    dataset = SimpleNamespace(class_names=["patch", "scratch"])
    job = SimpleNamespace(train=[sample] * images, dataset=dataset, needs=frozenset(needs))
    _tell_labels(job, SimpleNamespace(masks=1667, pixels=np.array([90, 5, 0]), areas=np.array([5])))
    return capsys.readouterr().err


@pytest.mark.parametrize(("images", "expected"), [(5, "no training mask"), (5000, "masks looked at shows scratch")])
def test_a_warning_claims_no_more_than_was_looked_at(images, expected, capsys):
    warned = told_of_labels(capsys, images, {"masks"})
    assert expected in warned and ("cannot learn" in warned) == (images == 5)


def test_a_class_that_boxes_teach_is_not_missed_in_the_masks(capsys):
    assert told_of_labels(capsys, 5, {"masks", "boxes"}, objects=[2]) == ""
    assert "cannot learn" in told_of_labels(capsys, 5, {"masks"}, objects=[2])
