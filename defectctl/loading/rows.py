"""One image of a training batch, ready but for what is done batched: decoded, pasted onto, boxed and cropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from defectctl.config.schema import Preset
from defectctl.dataset.truth import known_columns
from defectctl.dataset.types import Box, Dataset, Sample
from defectctl.errors import InputError
from defectctl.imaging.components import Component, find_components
from defectctl.imaging.geometry import Geometry
from defectctl.loading.box_truth import BoxTruth, box_truth, boxes_need_mask, clip_boxes
from defectctl.loading.copy_paste import CopyPaste
from defectctl.loading.crops import crop_state, lay_crop
from defectctl.loading.pictures import PictureStore
from defectctl.loading.sample_labels import SampleLabels, sample_labels, sample_state

NO_BOXES = BoxTruth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool), ())


@dataclass(slots=True)
class Row:
    """One image with its truth.

    Attributes:
        picture, mask: what the network's input shows of the image (`(H, W[, 3])`, uint8 or uint16; `(H, W)` uint8):
            all of it, or a crop. No mask: unknown, or not needed.
        known: `(1 + classes,)` bool, classes for which the mask speaks.
        state: 1 defective, 0 good, -1 unknown.
        boxes: crowds left out, in pixels of the whole image; of a crop, clipped to it.
        geometry: of the image in the network's input.
    """

    sample: Sample
    picture: NDArray
    mask: NDArray[np.uint8] | None
    known: NDArray[np.bool_]
    state: int
    boxes: BoxTruth
    geometry: Geometry


class RowLoader:
    """Makes rows; safe to use from several threads, and a row depends on nothing but the draws it is given.

    Args:
        dataset, samples: the training part.
        pictures: where decoded images come from.
        preset: its `input`, `augment`, `train.crops` and `predict.min_area` are read.
        needs: the truths that training needs, of `masks`, `boxes` and `labels`. A mask file is opened only for
            `masks`, for boxes that no objects tell, and where the record does not tell a sample's label.
    """

    def __init__(
        self,
        dataset: Dataset,
        samples: Sequence[Sample],
        pictures: PictureStore,
        preset: Preset,
        needs: frozenset[str],
        threads: int = 2,
    ) -> None:
        self.dataset, self.samples, self.pictures, self.input = dataset, samples, pictures, preset.input
        self.needs, self.threads = needs, threads
        self.defect_share = preset.train.crops.defect_share
        self.min_area = preset.predict.min_area if isinstance(preset.predict.min_area, int) else 0
        self._components: dict[str, list[Component]] = {}
        self._labels: list[SampleLabels] | None = None
        steps = [step["copy_paste"] for step in preset.augment if "copy_paste" in step]
        if steps and "masks" not in needs:
            raise InputError(
                "the augmentation copy_paste needs masks, and no loss of this preset learns from masks: remove the step"
            )
        if self.input.mode == "tile" and not needs & {"masks", "boxes"}:
            raise InputError(
                "input.mode 'tile' trains on crops, of which an image label tells nothing: choose mode 'resize', or a "
                "preset that learns from masks or boxes"
            )
        self._copy_paste = [
            CopyPaste(dataset, samples, self.labels, pictures, self.components, float(step["p"]), int(step["most"]))
            for step in steps
        ]

    @property
    def labels(self) -> list[SampleLabels]:
        """What each sample holds, looked up once."""
        if self._labels is None:
            self._labels = sample_labels(self.dataset, self.samples, self.pictures, self.threads)
        return self._labels

    def components(self, sample: Sample, mask: NDArray[np.uint8]) -> list[Component]:
        """The components of a sample's own mask, remembered."""
        found = self._components.get(sample.id)
        if found is None:
            found = self._components[sample.id] = find_components(mask)[1]
        return found

    def load(self, index: int, generator: np.random.Generator) -> Row:
        """Make the row of sample number `index`."""
        sample = self.samples[index]
        picture = self.pictures.picture(sample)
        mask = self.pictures.mask(sample) if "masks" in self.needs else None
        known = known_columns(self.dataset, sample) & (mask is not None)
        state, pasted = self._state(index), False
        for copy_paste in self._copy_paste if mask is not None else []:
            result = copy_paste(index, picture, mask, generator)
            if result is not None:
                picture, mask, state, pasted = result.picture, result.mask, 1, True
                sample = replace(sample, objects=[*sample.objects, *result.objects])
        boxes = self._boxes(sample, mask, pasted) if "boxes" in self.needs else NO_BOXES
        geometry = Geometry.fit(sample.width, sample.height, *self.input.size, self.input.mode)
        row = Row(sample, picture, mask, known, state, boxes, geometry)
        if self.input.mode == "tile":
            row = self._cropped(row, pasted, generator)
        row.boxes = _chosen(row.boxes, ~row.boxes.crowd)
        return row

    def _state(self, index: int) -> int:
        if self._labels is not None:
            return self._labels[index].state
        return sample_state(self.dataset, self.samples[index], self.pictures)

    def _boxes(self, sample: Sample, mask: NDArray[np.uint8] | None, pasted: bool) -> BoxTruth:
        components = None
        if boxes_need_mask(self.dataset, sample):
            mask = self.pictures.mask(sample) if mask is None else mask
            components = None if pasted or mask is None else self.components(sample, mask)
        return box_truth(self.dataset, sample, mask, self.min_area, components)

    def _cropped(self, row: Row, pasted: bool, generator: np.random.Generator) -> Row:
        """Lay a crop, and keep of the row what the crop shows."""
        sample, mask = row.sample, row.mask
        spoken = set(self.dataset.known(sample).mask) if mask is not None else set()
        targets: list[tuple[int, Box]] = []
        if mask is not None:
            components = find_components(mask)[1] if pasted else self.components(sample, mask)
            targets = [(found.label, found.box) for found in components if found.label in spoken]
        # Of the classes of which the mask does not speak, boxes tell where the defects are.
        beside = row.boxes if "boxes" in self.needs else box_truth(self.dataset, sample, None)
        beside = _chosen(beside, ~np.isin(beside.labels, list(spoken)))
        boxed = zip(beside.labels.tolist(), beside.boxes.tolist(), beside.crowd.tolist(), strict=True)
        targets += [(label, tuple(box)) for label, box, crowd in boxed if not crowd]
        where = lay_crop(sample.width, sample.height, self.input.size, targets, mask, self.defect_share, generator)
        rows, columns = where.seen
        window = (columns.start, rows.start, columns.stop, rows.stop)
        # Copies: a view would hold the whole decoded image in memory as long as its batch waits.
        row.geometry, row.picture = where, row.picture[rows, columns].copy()
        row.mask = mask[rows, columns].copy() if mask is not None else None
        clipped, enough = clip_boxes(beside.boxes, window)
        reaching = ((clipped[:, 2:] - clipped[:, :2]) > 0).all(axis=1)
        visible = (enough & ~beside.crowd)[reaching].tolist()  # a crowd's box may be empty just here
        speaking = frozenset(spoken | set(beside.known))
        row.state = crop_state(row.state, len(self.dataset.classes), row.mask, speaking, visible)
        clipped, kept = clip_boxes(row.boxes.boxes, window)
        row.boxes = _chosen(replace(row.boxes, boxes=clipped), kept)
        return row


def _chosen(truth: BoxTruth, rows: NDArray[np.bool_]) -> BoxTruth:
    """The truth with some of its boxes only."""
    return BoxTruth(truth.boxes[rows], truth.labels[rows], truth.crowd[rows], truth.known)
