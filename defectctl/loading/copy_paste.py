"""Copy-paste augmentation: defects of other training images laid onto good parts, pixels, masks and boxes alike.

After Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation" (CVPR 2021),
section 3: random objects of a random other image, with a blurred edge. The brightness match and "onto background
only" are ours: a part's brightness would else give every pasted defect away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from defectctl.dataset.types import Dataset, Object, Sample
from defectctl.imaging.components import Component
from defectctl.loading.pictures import PictureStore
from defectctl.loading.sample_labels import SampleLabels

RIM = 3
"""Pixels by which a defect is widened, and again by which its edge is then softened outwards."""

TRIES = 10
"""Places tried for a defect before it is left out."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A defect cut out with its rim.

    Attributes:
        label: class index.
        picture: `(h, w)` or `(h, w, 3)` float32, in the units of the picture that it goes onto.
        defect: `(h, w)` bool, the defect's own pixels.
        alpha: `(h, w)` float32 in 0..1, opacity: 1 on the defect, fading out over the rim.
    """

    label: int
    picture: NDArray[np.float32]
    defect: NDArray[np.bool_]
    alpha: NDArray[np.float32]

    def turned(self, quarters: int, mirrored: bool) -> Patch:
        """The patch turned counter-clockwise by quarters and then, if so, mirrored."""

        def turn(array: NDArray) -> NDArray:
            array = np.rot90(array, quarters)
            return array[:, ::-1] if mirrored else array

        return Patch(self.label, turn(self.picture), turn(self.defect), turn(self.alpha))


@dataclass(frozen=True, slots=True)
class Pasted:
    """A sample after the pasting; `objects` are the pasted defects alone, with tight boxes."""

    picture: NDArray
    mask: NDArray[np.uint8]
    objects: list[Object]


class CopyPaste:
    """Pastes defects onto the training part's good images, or onto any where there is no good one.

    Args:
        dataset, samples: the training part.
        labels: what each sample holds.
        pictures: where donors come from.
        components: `(sample, mask)` to the mask's components.
        p: chance that an image gets any.
        most: defects at most; 1 to `most` are drawn, and those that find no place are left out.
    """

    def __init__(
        self,
        dataset: Dataset,
        samples: Sequence[Sample],
        labels: Sequence[SampleLabels],
        pictures: PictureStore,
        components: Callable[[Sample, NDArray[np.uint8]], list[Component]],
        p: float,
        most: int,
    ) -> None:
        self.samples, self.pictures, self.components, self.p, self.most = samples, pictures, components, p, most
        self._known = [frozenset(dataset.known(sample).mask) for sample in samples]
        self._defects = [found.mask_classes & known for found, known in zip(labels, self._known, strict=True)]
        good = {i for i, found in enumerate(labels) if found.state == 0 and self._known[i]}
        self._receivers = good or {i for i, known in enumerate(self._known) if known}
        self._donors = {
            known: [i for i, defects in enumerate(self._defects) if defects & known] for known in set(self._known)
        }

    def __call__(
        self, index: int, picture: NDArray, mask: NDArray[np.uint8], generator: np.random.Generator
    ) -> Pasted | None:
        """Paste onto sample number `index`; None where nothing was pasted. The arrays given stay as they are."""
        donors = self._donors[self._known[index]]
        if index not in self._receivers or not donors or generator.random() >= self.p:
            return None
        picture, mask, objects = picture.copy(), mask.copy(), []
        for _ in range(int(generator.integers(1, self.most + 1))):
            donor = donors[int(generator.integers(len(donors)))]
            if donor == index:
                continue
            patch = self._take(donor, self._known[index], picture.dtype, generator)
            patch = _fitting(patch, mask.shape, generator)
            place = _free_place(patch, mask, generator) if patch is not None else None
            if patch is not None and place is not None:
                paste(patch, picture, mask, *place)
                objects.append(Object(patch.label, _tight_box(patch.defect, *place)))
        return Pasted(picture, mask, objects) if objects else None

    def _take(self, donor: int, classes: frozenset[int], depth: np.dtype, generator: np.random.Generator) -> Patch:
        """Cut a random defect, of the classes, out of a donor."""
        sample = self.samples[donor]
        picture, mask = self.pictures.picture(sample), self.pictures.mask(sample)
        assert mask is not None, "a donor's mask holds a defect"
        wanted = self._defects[donor] & classes
        found = [component for component in self.components(sample, mask) if component.label in wanted]
        return cut_patch(picture, mask, found[int(generator.integers(len(found)))], depth)


def cut_patch(picture: NDArray, mask: NDArray[np.uint8], component: Component, depth: np.dtype) -> Patch:
    """Cut a component with its soft rim out of a picture.

    Args:
        picture: `(H, W)` or `(H, W, 3)`, uint8 or full-scale uint16.
        mask: `(H, W)` uint8 that the component is of.
        depth: dtype of the picture that the patch goes onto; full scale becomes full scale.
    """
    x1, y1, x2, y2 = (int(edge) for edge in component.box)
    top, left = max(0, y1 - 2 * RIM), max(0, x1 - 2 * RIM)
    part = (slice(top, y2 + 2 * RIM), slice(left, x2 + 2 * RIM))
    inner = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
    defect = np.zeros(mask[part].shape, bool)
    defect[inner] = _own_pixels(mask[y1:y2, x1:x2], component)
    side = 2 * RIM + 1
    wide = cv2.dilate(defect.astype(np.uint8), np.ones((side, side), np.uint8))
    alpha = cv2.GaussianBlur(wide.astype(np.float32), (side, side), RIM / 2, borderType=cv2.BORDER_CONSTANT)
    alpha[(mask[part] != 0) & ~defect] = 0  # a neighbouring defect would come along without its label
    alpha[defect] = 1
    scale = np.iinfo(depth).max / np.iinfo(picture.dtype).max
    return Patch(component.label, picture[part].astype(np.float32) * np.float32(scale), defect, alpha)


def paste(patch: Patch, picture: NDArray, mask: NDArray[np.uint8], top: int, left: int) -> None:
    """Blend a patch into a picture and write its defect into the mask, both in place.

    The patch is made as much lighter or darker, channel by channel, as its rim differs on average from what it covers.
    """
    part = (slice(top, top + patch.defect.shape[0]), slice(left, left + patch.defect.shape[1]))
    under = picture[part].astype(np.float32)
    rim = (patch.alpha > 0) & ~patch.defect
    shift = under[rim].mean(axis=0) - patch.picture[rim].mean(axis=0) if rim.any() else np.float32(0)
    alpha = patch.alpha if under.ndim == 2 else patch.alpha[:, :, None]
    mixed = under + alpha * (patch.picture + shift - under)
    picture[part] = np.clip(np.rint(mixed), 0, np.iinfo(picture.dtype).max).astype(picture.dtype)
    mask[part][patch.defect] = patch.label


def _own_pixels(part: NDArray[np.uint8], component: Component) -> NDArray[np.bool_]:
    """The component's pixels within its tight box: of all patches in there only it reaches all four edges."""
    _, marks, stats, _ = cv2.connectedComponentsWithStats((part == component.label).astype(np.uint8), connectivity=8)
    sides = stats[1:, [cv2.CC_STAT_HEIGHT, cv2.CC_STAT_WIDTH]]
    return marks == 1 + int(np.flatnonzero((sides == part.shape).all(axis=1))[0])


def _fitting(patch: Patch, shape: tuple[int, ...], generator: np.random.Generator) -> Patch | None:
    """The patch in a random one of the eight positions in which it fits, or None."""
    quarters, mirrored = int(generator.integers(4)), bool(generator.integers(2))
    for number in (quarters, quarters + 1):
        turned = patch.turned(number, mirrored)
        if turned.defect.shape[0] <= shape[0] and turned.defect.shape[1] <= shape[1]:
            return turned
    return None


def _free_place(patch: Patch, mask: NDArray[np.uint8], generator: np.random.Generator) -> tuple[int, int] | None:
    """A random (top, left) at which the patch, rim and all, covers nothing but known background."""
    height, width = patch.defect.shape
    touched = patch.alpha > 0
    for _ in range(TRIES):
        top = int(generator.integers(mask.shape[0] - height + 1))
        left = int(generator.integers(mask.shape[1] - width + 1))
        if not mask[top : top + height, left : left + width][touched].any():
            return top, left
    return None


def _tight_box(defect: NDArray[np.bool_], top: int, left: int) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(defect.any(axis=1)), np.flatnonzero(defect.any(axis=0))
    return (
        float(left + columns[0]),
        float(top + rows[0]),
        float(left + columns[-1] + 1),
        float(top + rows[-1] + 1),
    )
