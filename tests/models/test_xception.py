"""Aligned Xception against timm's: outputs at every output stride, names and shapes of the weights."""

from __future__ import annotations

import pytest
import torch

from defectctl.models.backbones.xception import Xception

timm = pytest.importorskip("timm")


def theirs(output_stride: int) -> torch.nn.Module:
    return timm.create_model("xception65", pretrained=False, output_stride=output_stride)


def test_names_and_sizes_equal_timms():
    with torch.device("meta"):
        ours, expected = Xception().state_dict(), theirs(32).state_dict()
    shapes = {key: value.shape for key, value in expected.items() if not key.startswith("head.")}
    assert {key: value.shape for key, value in ours.items()} == shapes


@pytest.mark.parametrize("output_stride", [32, 16, 8])
def test_equal_to_timm(output_stride, monkeypatch):
    monkeypatch.setattr("defectctl.models.backbones.xception.MIDDLE_BLOCKS", 2)  # sixteen equal ones are slow
    torch.manual_seed(0)
    ours = Xception(3, output_stride).eval()
    reference = theirs(output_stride).eval()
    del reference.blocks[5:19]
    reference.load_state_dict(ours.state_dict(), strict=False)
    taps = []
    # timm taps after the ReLU, so the map that goes into it is the one
    reference.blocks[1].stack.act3.register_forward_pre_hook(lambda module, inputs: taps.append(inputs[0].clone()))
    images = torch.rand(1, 3, 65, 90)
    with torch.no_grad():
        shallow, deep = ours(images)
        expected = reference.forward_features(images)
    assert tuple(shallow.shape) == (1, 256, 17, 23)
    assert tuple(deep.shape) == (1, 2048, -(-65 // output_stride), -(-90 // output_stride))
    torch.testing.assert_close(shallow, taps[0])
    torch.testing.assert_close(deep, expected)
    assert deep.std() > 0
    assert (shallow < 0).any(), "the ReLU that follows must not write into the shallow features"


def test_dilation_changes_what_is_seen():
    """Without its strides but dilated, the network looks at the pixels it looked at before."""
    with torch.device("meta"):
        strided, dilated = Xception(3, 32), Xception(3, 8)
    reach = [
        sum(m.dilation[0] for m in model.blocks[-1].modules() if getattr(m, "kernel_size", 0) == (3, 3))
        for model in (strided, dilated)
    ]
    assert reach[1] * 8 == reach[0] * 32
