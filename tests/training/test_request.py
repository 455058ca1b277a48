"""What a training is refused for before torch is imported."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defectctl.errors import InputError
from defectctl.formats.prepare import PrepareOptions, prepare
from defectctl.training.request import TrainOptions, check_request


@pytest.fixture(scope="module")
def defective_only(tmp_path_factory):
    """Twenty parts with one scratch each, and none without."""
    raw = tmp_path_factory.mktemp("raw")
    for folder in ("images", "masks"):
        (raw / folder).mkdir()
    for number in range(20):
        mask = np.zeros((40, 40), np.uint8)
        mask[10:14, 5:30] = 255
        picture = np.full((40, 40), 90 + number, np.uint8)
        cv2.imwrite(str(raw / "images" / f"{number}.png"), picture)
        cv2.imwrite(str(raw / "masks" / f"{number}.png"), mask)
    out = raw.parent / f"{raw.name}-data"
    prepare(raw, out, PrepareOptions())
    return out


def refusal(data, out, preset: str, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        check_request(TrainOptions(preset=preset, data=data, overrides=overrides, out=out / "runs"))
    assert not (out / "runs").exists()
    return str(caught.value)


def test_a_part_that_the_model_lacks(defective_only, tmp_path):
    told = refusal(defective_only, tmp_path, "sme-deeplab", "train.stages.0.train=[encodr]")
    assert "train.stages.0 trains the part 'encodr'" in told and "did you mean 'encoder'" in told


def test_a_part_in_a_turn_that_the_model_lacks(defective_only, tmp_path):
    told = refusal(defective_only, tmp_path, "multitask-rotation", "train.stages.0.turns.0.train=[encoder, decision]")
    assert "'decision'" in told and "encoder, detection, segmentation" in told


def test_pairs_need_good_parts(defective_only, tmp_path):
    told = refusal(defective_only, tmp_path, "quick", "train.stages.0.sampler=pairs")
    assert "14 defective and 0 good" in told


def test_pairs_need_an_even_batch(defective_only, tmp_path):
    told = refusal(defective_only, tmp_path, "quick", "train.stages.0.sampler=pairs", "train.batch_size=3")
    assert "even train.batch_size, not 3" in told


def test_a_ranking_needs_good_and_defective_parts_to_validate_on(defective_only, tmp_path):
    told = refusal(defective_only, tmp_path, "quick", "train.select=val/image_ap")
    assert "val/image_ap" in told and "3 defective and 0 good" in told
