"""The registry: lists without torch, refuses what it does not know, names what was meant."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import SimpleNamespace

import pytest

from defectctl.errors import InputError
from defectctl.models.catalogue import REGISTRY
from defectctl.models.registry import build_model, check_model


def config(name="sme-deeplab", weights="none", **options):
    return SimpleNamespace(name=name, weights=weights, options=options)


def test_listing_imports_nothing_heavy():
    code = (
        "import sys; import defectctl.models.registry;"
        "print([m for m in ('torch', 'numpy', 'cv2', 'pydantic', 'timm') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("entry", REGISTRY.values(), ids=list(REGISTRY))
def test_entries_are_whole(entry):
    module, name = entry.target.split(":")
    assert hasattr(importlib.import_module(module), name)
    assert set(entry.default_options) == set(entry.options)
    check_model(config(entry.name, **entry.default_options))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (config("sme-deeplap"), "did you mean 'sme-deeplab'"),
        (config(backbon="starnet_s4"), "model.backbon.*did you mean 'backbone'"),
        (config(backbone="starnet_s5"), "model.backbone.*did you mean 'starnet_s"),
        (config(drop_path=2), "model.drop_path: 2 is not a number from 0 to 0.9"),
        (config(drop_path=True), "model.drop_path"),
        (config("deeplabv3plus", output_stride="16"), "model.output_stride"),
        (config(weights="imagenett"), "did you mean 'imagenet'"),
        (config(weights="nowhere/model.pth"), "'nowhere/model.pth' does not exist"),
    ],
)
def test_mistakes_are_named(bad, words):
    with pytest.raises(InputError, match=words):
        check_model(bad)
    with pytest.raises(InputError, match=words):
        build_model(bad, 3)


def test_all_mistakes_at_once():
    with pytest.raises(InputError) as caught:
        check_model(config(context="mssa", ela="z", weights="x"))
    assert all(key in str(caught.value) for key in ("model.context", "model.ela", "model.weights", "'msaa'"))


def test_options_reach_the_network():
    model = build_model(config(backbone="starnet_s050", shallow_attention="none"), 2, 1)
    assert model.encoder.variant == "starnet_s050"
    assert model.segmentation.classify.out_channels == 3
    assert model.encoder.stem[0].conv.in_channels == 1
