"""Sizes of the training part's boxes in network pixels, from which anchors are fitted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from defectctl.config.schema import InputConfig
from defectctl.dataset.types import Dataset, Sample
from defectctl.imaging.geometry import Geometry
from defectctl.loading.box_truth import box_truth, boxes_need_mask
from defectctl.loading.pictures import PictureStore
from defectctl.loading.prefetch import prefetch
from defectctl.messages import progress


def box_sizes(
    dataset: Dataset, samples: Sequence[Sample], pictures: PictureStore, config: InputConfig, min_area: int = 0
) -> np.ndarray:
    """Width and height of every known training box, `(M, 2)` float64, in pixels of the network's input.

    Args:
        min_area: mask components below it are no boxes, as in training.
    """

    def sizes(sample: Sample) -> np.ndarray:
        mask = pictures.mask(sample) if boxes_need_mask(dataset, sample) else None
        truth = box_truth(dataset, sample, mask, min_area)
        boxes = np.asarray(truth.boxes, np.float64).reshape(-1, 4)[~np.asarray(truth.crowd, bool)]
        scale = np.ones(2)
        if config.mode != "tile":
            where = Geometry.fit(sample.width, sample.height, *config.size, config.mode)
            scale = np.array([where.scale_x, where.scale_y])
        return (boxes[:, 2:] - boxes[:, :2]) * scale

    found = list(progress(prefetch(list(samples), sizes), total=len(samples), what="boxes", unit="images"))
    return np.concatenate([np.zeros((0, 2)), *found])
