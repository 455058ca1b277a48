"""Small raw folders of two kinds that show the same pictures: pixel masks beside PNG, boxes beside colour JPEG."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest


def put(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, np.asarray(pixels))[1].tobytes())


def picture(seed, side=48):
    coarse = np.random.default_rng(seed).integers(40, 215, (6, 6), np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def square(value, top=8):
    mask = np.zeros((48, 48), np.uint8)
    mask[top : top + 8, 8:20] = value
    return mask


def mask_folder(root, seeds, value=255, names="{}"):
    for seed in seeds:
        put(root / "images" / f"{names.format(seed)}.png", picture(seed))
        put(root / "masks" / f"{names.format(seed)}.png", square(value))
    return root


def voc_folder(root, seeds, names="{}", cls="dent", folder="images"):
    for seed in seeds:
        put(root / folder / f"{names.format(seed)}.jpg", cv2.cvtColor(picture(seed), cv2.COLOR_GRAY2BGR))
        size = "<size><width>48</width><height>48</height></size>"
        box = "<bndbox><xmin>9</xmin><ymin>9</ymin><xmax>20</xmax><ymax>16</ymax></bndbox>"
        text = f"<annotation>{size}<object><name>{cls}</name>{box}</object></annotation>"
        xml = root / "xml" / f"{names.format(seed)}.xml"
        xml.parent.mkdir(parents=True, exist_ok=True)
        xml.write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def folders():
    """The makers above."""
    return SimpleNamespace(put=put, picture=picture, square=square, mask_folder=mask_folder, voc_folder=voc_folder)
