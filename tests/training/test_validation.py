"""What a validation tells of each kind of model, and which of it may choose the checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from defectctl.config.presets import check_preset, load_preset, preset_to_dict
from defectctl.dataset.types import ClassInfo, Dataset, Known, Object, Sample, Source
from defectctl.errors import InputError
from defectctl.training.validation import Validator, check_select, metric_keys

sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))

from inference_toys import Bright, BrightBox, BrightJudge, Everything

TRUTH = np.zeros((32, 64), np.uint8)
TRUTH[4:14, 8:20] = 1


class Pictures:
    """Two pictures: one with a bright defect, one without; a mask only where it may be opened."""

    def __init__(self, masks: bool = True) -> None:
        self.masks = masks

    def picture(self, sample: Sample) -> np.ndarray:
        return np.where((TRUTH > 0) & (sample.id == "bad.png"), 250, 20).astype(np.uint8)

    def mask(self, sample: Sample) -> np.ndarray:
        assert self.masks, "a mask was opened"
        return TRUTH if sample.id == "bad.png" else np.zeros_like(TRUTH)


def validate(model, masks: bool = True, **more):
    preset = preset_to_dict(load_preset("quick"))
    preset["input"] = {"size": [32, 64], "colour": "grey", **more.pop("input", {})}
    objects = [Object(1, (8.0, 4.0, 20.0, 14.0))]
    samples = [
        Sample("bad.png", "", 64, 32, "", "s", "m", "", objects, present=(1,)),
        Sample("good.png", "", 64, 32, "", "s", present=()),
    ]
    known = {"s": Source("s", "test", Known(mask=(1,), boxes=(1,), image=True))}
    dataset = Dataset(Path("."), "test", [ClassInfo("dent", (255, 0, 0))], samples, known, "", [], "")
    cpu = torch.device("cpu")
    validator = Validator(dataset, samples, Pictures(masks), check_preset(preset, "test"), cpu, **more)
    done: list[int] = []
    found = validator(model, "float32", done.append)
    assert sum(done) == 2
    return found


@pytest.mark.parametrize("mode", ["resize", "tile"])
def test_a_model_of_all_tasks_is_scored_in_all(mode: str) -> None:
    found = validate(Everything(), input={"mode": mode})
    ones = ("defect_iou", "miou", "map50", "map", "image_ap", "image_auroc", "pixel_ap", "iou/dent", "ap50/dent")
    assert {found.metrics[f"val/{key}"] for key in ones} == {1.0} and found.silent == []
    assert found.metrics["val/fp_at_full_recall"] == 0


def test_models_are_scored_in_what_they_deliver_only() -> None:
    detector, judge, mask = (validate(model).metrics for model in (BrightBox(), BrightJudge(), Bright()))
    assert detector["val/map50"] == detector["val/image_ap"] == judge["val/image_auroc"] == mask["val/pixel_ap"] == 1.0
    assert not {"val/defect_iou", "val/pixel_ap", "val/unknown_share", "val/iou/dent"} & {*detector, *judge}
    assert not {"val/map50", "val/ap50/dent"} & {*judge, *mask}


def test_classes_are_called_silent_only_where_masks_tell() -> None:
    class Blind(Bright):
        """Finds nothing."""

        def forward(self, images):
            return super().forward(images * 0)

    assert validate(Blind()).silent == ["dent"]
    assert validate(BrightBox()).silent == validate(BrightJudge()).silent == []


def test_weak_supervision_validates_without_masks() -> None:
    found = validate(Everything(), masks=False, needs=frozenset({"labels"}))
    assert found.metrics["val/image_ap"] == 1.0 and "val/defect_iou" not in found.metrics


@pytest.mark.parametrize(
    ("tasks", "can", "cannot"),
    [
        (("segmentation",), ("defect_iou", "miou", "pixel_ap", "image_ap"), ("map50", "map")),
        (("detection",), ("map50", "map", "image_ap", "image_auroc"), ("defect_iou", "pixel_ap")),
        (("decision",), ("image_ap", "image_auroc"), ("defect_iou", "map")),
        (("segmentation", "detection"), ("defect_iou", "map50", "image_ap"), ()),
    ],
)
def test_select_takes_what_the_model_can_deliver(tasks, can, cannot) -> None:
    for key in can:
        check_select(f"val/{key}", tasks)
    for key in cannot:
        with pytest.raises(InputError, match=f"val/{key}.* only .*val/image_ap"):
            check_select(f"val/{key}", tasks)
    with pytest.raises(InputError, match=r"no metric 'val/image_app'.*did you mean 'val/image_ap'"):
        check_select("val/image_app", tasks)
    with pytest.raises(InputError, match="no metric"):
        check_select("val/fp_at_full_recall", tasks)


def test_what_can_be_chosen_is_computed() -> None:
    assert set(metric_keys()) <= set(validate(Everything()).metrics)
