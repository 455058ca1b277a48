"""SME-DeepLabV3+ against its published operation and parameter counts, and its true ones."""

from __future__ import annotations

import warnings

import pytest
import torch

from defectctl.errors import InputError
from defectctl.models.blocks.conv import PooledBatchNorm
from defectctl.models.blocks.msaa import MSAA
from defectctl.models.sme_deeplab import SmeDeepLab

UNUSED = 49_216
"""Weights of a second 1x1 convolution, 768 to 64, that the published MSAA declares and never calls: left out here."""

# context, shallow attention, published GFLOPs and M params, true count with the unused convolution and ELA-B
ROWS = {
    "A": ("aspp+msaa", "none", "74.604", "11.161", 11_209_910 - UNUSED),
    "B": ("msaa", "none", "56.845", "8.928", 8_977_078 - UNUSED),
    "C": ("aspp", "ela", "71.281", "10.753", 10_752_820),
    "D": ("msaa", "ela", "56.845", "8.928", 8_977_366 - UNUSED),
}
DUAL_EXTRA = 32 * (3 + 7) - 32 * 7
"""Depthwise 1-D weights on 32 channels that `dual` has above ELA-B."""


def count(model: SmeDeepLab) -> tuple[str, str]:
    """GFLOPs and M params at 512x512 the way the paper's base code counts: thop's operations, times two."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        thop = pytest.importorskip("thop", exc_type=ImportError)
        from thop.vision.basic_hooks import count_normalization

        for module in model.modules():
            if isinstance(module, MSAA):
                module.literal = True
        rules = {PooledBatchNorm: count_normalization}
        operations, parameters = thop.profile(
            model.eval(), (torch.zeros(1, 3, 512, 512),), custom_ops=rules, verbose=False
        )
    return f"{2 * operations / 1e9:.3f}", f"{parameters / 1e6:.3f}"


@pytest.mark.parametrize("ela", ["dual", "b"])
@pytest.mark.parametrize("row", ROWS)
def test_published_counts(row, ela):
    context, attention, flops, parameters, _ = ROWS[row]
    with torch.no_grad():
        assert count(SmeDeepLab(3, context=context, shallow_attention=attention, ela=ela)) == (flops, parameters)


def test_aspp_alone_is_what_row_a_claims_to_be():
    with torch.no_grad():
        assert count(SmeDeepLab(3, context="aspp", shallow_attention="none")) == ("71.280", "10.753")


@pytest.mark.parametrize("ela", ["dual", "b"])
@pytest.mark.parametrize("row", ROWS)
def test_true_parameter_counts(row, ela):
    context, attention, _, _, expected = ROWS[row]
    model = SmeDeepLab(3, context=context, shallow_attention=attention, ela=ela)
    extra = DUAL_EXTRA if ela == "dual" and attention == "ela" else 0
    assert sum(parameter.numel() for parameter in model.parameters()) == expected + extra


def test_doubling_twice_at_stride_32_feeds_the_context_at_stride_8():
    model = SmeDeepLab(3).eval()
    seen = []
    model.segmentation.context.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    with torch.no_grad():
        logits = model(torch.zeros(1, 3, 128, 96)).mask_logits
    assert seen == [(1, 256, 16, 12)]
    assert logits.shape == (1, 4, 32, 24)


def test_start_without_weights_is_the_papers():
    torch.manual_seed(0)
    model = SmeDeepLab(3)
    model.initialise()
    kernel = model.segmentation.fuse[0].conv.weight
    assert kernel.mean().abs() < 1e-3
    assert kernel.std().item() == pytest.approx(0.02, rel=0.02)
    norm = model.segmentation.fuse[0].bn
    assert norm.weight.mean().item() == pytest.approx(1, abs=0.01)
    assert norm.weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert not norm.bias.any()


@pytest.mark.parametrize("backbone", ["starnet_s1", "starnet_s3", "starnet_s050", "starnet_s100", "starnet_s150"])
def test_other_backbones_work(backbone):
    model = SmeDeepLab(1, 1, backbone=backbone, drop_path=0.5).train()
    assert model(torch.rand(2, 1, 64, 64)).mask_logits.shape == (2, 2, 16, 16)


def test_attention_that_cannot_divide_the_channels_is_refused():
    with pytest.raises(InputError, match="multiple of 16 channels"):
        SmeDeepLab(3, backbone="starnet_s1", ela="b")
