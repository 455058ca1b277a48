"""The picture store: what it decodes, that it checks hashes, and that its cache changes nothing."""

import cv2
import numpy as np
import pytest

from defectctl.dataset.types import ClassInfo, Dataset, Known, Sample, Source
from defectctl.errors import InputError
from defectctl.fileio import sha256_bytes
from defectctl.imaging.masks import encode_mask
from defectctl.imaging.pixel_rule import PixelRule
from defectctl.loading.pictures import PictureStore


@pytest.fixture
def dataset(tmp_path):
    """One 12-bit image with a mask, one good part, one image nothing is known of."""
    ramp = np.arange(32 * 40, dtype=np.uint16).reshape(32, 40) * 3
    mask = np.zeros((32, 40), np.uint8)
    mask[4:8, 5:9] = 1
    image_bytes = cv2.imencode(".png", ramp)[1].tobytes()
    mask_bytes = encode_mask(mask, [(255, 0, 0)])
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    (tmp_path / "images" / "ä 1.png").write_bytes(image_bytes)
    (tmp_path / "masks" / "ä 1.png.png").write_bytes(mask_bytes)
    common = {"image": "images/ä 1.png", "width": 40, "height": 32, "sha256": sha256_bytes(image_bytes), "source": "s"}
    samples = [
        Sample(id="ä 1.png", mask="masks/ä 1.png.png", mask_sha256=sha256_bytes(mask_bytes), **common),
        Sample(id="good.png", **common),
        Sample(id="unknown.png", known=Known(), **common),
    ]
    source = Source("s", "mask-folders", Known(mask=(1,), image=True), PixelRule(white16=4095))
    return Dataset(tmp_path, "d", [ClassInfo("crack", (255, 0, 0))], samples, {"s": source}, "", [], "random")


def test_the_sources_pixel_rule_is_applied(dataset):
    picture = PictureStore(dataset, "grey").picture(dataset.samples[0])
    assert picture.dtype == np.uint16 and picture.shape == (32, 40)
    assert picture[31, 39] == pytest.approx(1279 * 3 / 4095 * 65535, abs=1)


def test_a_good_part_has_an_empty_mask_and_an_unlabelled_one_none(dataset):
    store = PictureStore(dataset, "rgb")
    assert store.mask(dataset.samples[0]).sum() == 16
    assert store.mask(dataset.samples[1]).sum() == 0
    assert store.mask(dataset.samples[2]) is None


@pytest.mark.parametrize("cache", [0, 1 << 20])
def test_the_cache_changes_nothing_but_the_number_of_reads(dataset, cache):
    store = PictureStore(dataset, "rgb", cache_bytes=cache)
    first = store.picture(dataset.samples[0])
    (dataset.root / "images" / "ä 1.png").unlink()
    if cache:
        assert np.array_equal(store.picture(dataset.samples[0]), first)
    else:
        with pytest.raises(InputError, match="cannot be read"):
            store.picture(dataset.samples[0])


def test_a_changed_file_is_refused(dataset):
    path = dataset.root / "masks" / "ä 1.png.png"
    path.write_bytes(encode_mask(np.zeros((32, 40), np.uint8), [(255, 0, 0)]))
    with pytest.raises(InputError, match="not the file that was prepared"):
        PictureStore(dataset, "rgb").mask(dataset.samples[0])


def test_a_stated_size_that_is_wrong_is_refused(dataset):
    dataset.samples[0].width = 41
    with pytest.raises(InputError, match="is 40x32, not 41x32"):
        PictureStore(dataset, "rgb").picture(dataset.samples[0])
