"""Reader of MVTec-AD and its kin: good parts to train on, defects in folders by class, ground-truth masks beside."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from defectctl.errors import InputError
from defectctl.formats.base import Finding, Listing, RawSample, RawSource, ReadOptions
from defectctl.formats.readers.label_words import GOOD, Spelling, meaning
from defectctl.formats.readers.names import order_classes, part_of_name, settle_parts, stem_of

NAME = "mvtec"
DESCRIPTION = "MVTec-AD (train/good, test/good, test/<defect>, ground_truth/<defect>), one category or several"
SCORE = 1.0
_TRUTH = re.compile(r"ground[\W_]*truths?|gts?|masks?", re.I)
_SUFFIX = re.compile(r"[\W_](mask|gt|label|seg)$", re.I)

Key = tuple[tuple[str, ...], "str | None", str, str]
"""`(category folders, official part or None, class folder, stem)`, case folded."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an image stands: the folders above its part, the part, its class folder."""

    category: tuple[str, ...]
    part: str
    folder: str

    def key(self, file: str, with_part: bool) -> Key:
        return _key(self.category, self.part if with_part else None, self.folder, stem_of(file))


@dataclass(slots=True)
class _Layout:
    """The files of a folder by what they are.

    Attributes:
        images: image file -> its place.
        truths: mask file -> the keys by which images find it.
        masks: image file -> its mask.
        shared: mask file -> the several images that it fits.
        unused: image files that are neither.
    """

    images: dict[str, _Place] = field(default_factory=dict)
    truths: dict[str, list[Key]] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)
    shared: dict[str, list[str]] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)


def recognise(listing: Listing) -> float:
    """Sure where masks below `ground_truth` have images in `test` and there is a folder of good parts."""
    layout = _lay_out(listing)
    if not layout.masks or not any(meaning(place.folder) == GOOD for place in layout.images.values()):
        return 0.0
    return SCORE * min(1.0, 0.5 + len(layout.masks) / len(layout.truths))


def read(listing: Listing, options: ReadOptions) -> RawSource:
    """Match defective parts with their masks; the class is the folder's name, the same in all categories.

    Good parts have an empty known mask. A defective part without a mask keeps its class as image label.

    Raises:
        InputError: no mask below a `ground_truth` folder has an image, or `--classes-from prefix` is asked for.
    """
    if options.classes_from == "prefix":
        raise InputError(f"--classes-from prefix: {NAME} takes the classes from the folders below 'test'; leave it out")
    layout = _lay_out(listing)
    if not layout.masks:
        raise InputError(
            f"'{listing.root}' is not laid out like MVTec-AD: no mask ground_truth/<defect>/000_mask.png has an image "
            "test/<defect>/000.png; choose another --format"
        )
    findings = _unmatched(layout)
    spelling = Spelling(options)
    shared = {image for images in layout.shared.values() for image in images}
    samples, found = [], {}
    for file, place in sorted(layout.images.items()):
        sample = RawSample(file, listing.root / file, part=place.part)
        samples.append(sample)
        if meaning(place.folder) == GOOD:
            sample.label = GOOD
            continue
        name = spelling(place.folder)
        found.setdefault(name, file)
        # Said beside the mask, too: a part in a defect's folder is not good, even if its mask turns out to be empty.
        sample.label = name
        if file in layout.masks:
            sample.mask, sample.class_name = listing.root / layout.masks[file], name
        elif file not in shared:
            text = f"a defective part with no mask of its name: kept with the image label '{name}' alone"
            findings.append(Finding(file, "no-mask", text))
    text = _told(layout) + settle_parts(samples, findings) + _told_training(samples)
    classes = order_classes(found, options)
    return RawSource(NAME, text, listing.root, samples, classes, findings=findings, knows_masks=True, exclusive=True)


def _key(category: tuple[str, ...], part: str | None, folder: str, stem: str) -> Key:
    return tuple(name.casefold() for name in category), part, folder.casefold(), stem.casefold()


def _lay_out(listing: Listing) -> _Layout:
    layout = _Layout()
    for file in map(str, listing.images()):
        if keys := _truth_keys(file):
            layout.truths[file] = keys
        elif place := _place(file):
            layout.images[file] = place
        else:
            layout.unused.append(file)
    _match(layout)
    return layout


def _place(file: str) -> _Place | None:
    """Place of `…/<part>/<class>/000.png`."""
    *above, folder, _ = ["", *file.split("/")]
    part = part_of_name(above[-1]) if above else None
    return _Place(tuple(above[1:-1]), part, folder) if part else None


def _truth_keys(file: str) -> list[Key]:
    """Keys of `…/ground_truth/<class>/000_mask.png`; a part may stand before or after `ground_truth`."""
    *above, folder, name = file.split("/") if "/" in file else ("", "")
    index = next((i for i, one in enumerate(above) if _TRUTH.fullmatch(one)), None)
    if index is None:
        return []
    stem = stem_of(name)
    stems = dict.fromkeys((stem, _SUFFIX.sub("", stem)))
    keys = [_key((*above[:index], *above[index + 1 :]), None, folder, one) for one in stems]
    for beside in (index - 1, index + 1):
        part = part_of_name(above[beside]) if 0 <= beside < len(above) else None
        if part:
            rest = tuple(one for i, one in enumerate(above) if i not in (index, beside))
            keys += [_key(rest, part, folder, one) for one in stems]
    return keys


def _match(layout: _Layout) -> None:
    by_key: dict[Key, str] = {}
    for exact in (True, False):  # a mask of just the image's name goes before one with a suffix
        for file, keys in layout.truths.items():
            for key in keys:
                if (key[3] == stem_of(file).casefold()) == exact:
                    by_key.setdefault(key, file)
    fits: dict[str, list[str]] = defaultdict(list)
    for file, place in layout.images.items():
        if meaning(place.folder) == GOOD:
            continue
        mask = by_key.get(place.key(file, True)) or by_key.get(place.key(file, False))
        if mask is not None:
            fits[mask].append(file)
    layout.masks = {images[0]: mask for mask, images in fits.items() if len(images) == 1}
    layout.shared = {mask: images for mask, images in fits.items() if len(images) > 1}


def _unmatched(layout: _Layout) -> list[Finding]:
    """Findings for masks without an image, masks of good parts, masks that fit several images, and other images."""
    findings = []
    of_good: Counter[str] = Counter()
    for file in layout.truths.keys() - set(layout.masks.values()) - layout.shared.keys():
        folder = file.rpartition("/")[0]
        if meaning(folder.rpartition("/")[2]) == GOOD:
            of_good[folder] += 1
        else:
            findings.append(Finding(file, "no-image", "a mask with no image of its name: left out", True))
    for mask, images in layout.shared.items():
        text = f"fits {len(images)} images ('{images[0]}', '{images[1]}'), which keep their class as image label alone"
        findings.append(Finding(mask, "ambiguous-image", text, True))
    for folder, count in of_good.items():
        text = f"{count} masks of good parts: good parts have no defect, so these were not looked at"
        findings.append(Finding(folder, "unused-masks", text))
    for folder, count in Counter(file.rpartition("/")[0] or "." for file in layout.unused).items():
        text = f"{count} image files outside train/<class>, test/<class> and ground_truth: left out"
        findings.append(Finding(folder, "unused-images", text, True))
    return findings


def _told(layout: _Layout) -> str:
    categories = sorted({"/".join(place.category) for place in layout.images.values()})
    names = ", ".join(f"'{name}'" for name in categories[:3]) + (", …" if len(categories) > 3 else "")
    where = f"{len(categories)} categories ({names})" if len(categories) > 1 else "one category"
    return f"MVTec-AD layout of {where}, classes are the folders' names"


def _told_training(samples: list[RawSample]) -> str:
    training = [sample for sample in samples if sample.part == "train"]
    if not training or any(sample.label != GOOD for sample in training):
        return ""
    return "; the official training part has no defect: it suits only methods that learn from good parts alone"
