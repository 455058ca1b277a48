"""SME-DeepLabV3+ against its published operation and parameter counts, and its true ones."""

from __future__ import annotations

import warnings

import pytest
import torch

from defectctl.config.presets import load_preset
from defectctl.errors import InputError
from defectctl.models.blocks.conv import PooledBatchNorm
from defectctl.models.blocks.ela import ELA
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
    device = next(model.parameters()).device
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        thop = pytest.importorskip("thop", exc_type=ImportError)
        from thop.vision.basic_hooks import count_normalization

        for module in model.modules():
            if isinstance(module, MSAA):
                module.literal = True
        rules = {PooledBatchNorm: count_normalization}
        operations, parameters = thop.profile(
            model.eval(), (torch.zeros(1, 3, 512, 512, device=device),), custom_ops=rules, verbose=False
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


# the code the paper builds on: classes with background, output stride, GFLOPs, M params
BASELINES = [
    ("mobilenetv2", 4, 16, "52.884", "5.814"),
    ("mobilenetv2", 4, 8, "79.941", "5.814"),
    ("mobilenetv2", 21, 16, "53.026", "5.818"),
    ("xception", 4, 16, "166.858", "54.709"),
    ("xception", 4, 8, "486.630", "54.709"),
    ("xception", 21, 16, "167.000", "54.714"),
]


@pytest.mark.parametrize(("backbone", "outputs", "output_stride", "flops", "parameters"), BASELINES)
def test_counts_of_the_baselines(backbone, outputs, output_stride, flops, parameters):
    with torch.device("meta"):  # shapes without values: counting needs no more
        model = SmeDeepLab(
            outputs - 1, backbone=backbone, context="aspp", shallow_attention="none", output_stride=output_stride
        )
    assert count(model) == (flops, parameters)


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


@pytest.mark.parametrize(("backbone", "output_stride"), [("mobilenetv2", 16), ("mobilenetv2", 8), ("xception", 16)])
@pytest.mark.parametrize("context", ["msaa", "aspp+msaa"])
def test_the_papers_modules_on_the_baselines_backbones(backbone, output_stride, context):
    with torch.device("meta"):
        model = SmeDeepLab(2, 1, backbone, context, output_stride=output_stride).eval()
        seen = []
        model.segmentation.context.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
        logits = model(torch.zeros(1, 1, 75, 101)).mask_logits
    assert logits.shape == (1, 3, 19, 26)
    side = tuple(-(-length // output_stride) for length in (75, 101))
    assert seen == [(1, model.encoder.widths[-1], *side)]
    first = model.segmentation.context[0]
    if isinstance(first, MSAA):
        assert first.reduce.in_channels == 3 * model.encoder.widths[-1]


def test_fields_of_view_stay_at_the_finer_output_stride():
    rates = {}
    for output_stride in (16, 8):
        with torch.device("meta"):
            model = SmeDeepLab(1, backbone="mobilenetv2", context="aspp", output_stride=output_stride)
        rates[output_stride] = [branch.conv.dilation[0] for branch in model.segmentation.context[0].dilated]
    assert rates == {16: [6, 12, 18], 8: [12, 24, 36]}


def test_mobilenetv2_trains_on_a_single_image():
    model = SmeDeepLab(1, 1, "mobilenetv2", "aspp", "ela").train()
    model(torch.rand(1, 1, 33, 64)).mask_logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"output_stride": 8}, "'starnet_s4' is not dilated"),
        ({"backbone": "mobilenetv2", "drop_path": 0.1}, "drop_path is for StarNet"),
        ({"backbone": "mobilenetv2", "ela": "b"}, "first stage has 24"),
        ({"context": "aspp", "branch_shares": [1, 1, 1]}, "branch_shares starts the kernels of MSAA"),
        ({"shallow_attention": "none", "ela_shares": [1, 1]}, "ela_shares starts the kernels of ELA"),
        ({"ela": "b", "ela_shares": [1, 1]}, "ela_shares has 2 numbers"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        SmeDeepLab(3, **options)


def branch_kernels(model: SmeDeepLab) -> list[torch.Tensor]:
    """The kernels of MSAA's three branches, then of ELA's two."""
    modules = [module for kind in (MSAA, ELA) for module in model.modules() if isinstance(module, kind)]
    return [conv.weight.detach().clone() for conv in (*modules[0].branches, *modules[1].convs)]


@pytest.mark.parametrize("drawn_anew", [False, True])
def test_adaptive_initialisation_scales_the_kernels_once(drawn_anew):
    """Shares of 1/2, 1/4, 1/4 over their mean 1/3 are 1.5, 0.75, 0.75; of 3/4, 1/4 over 1/2, 1.5 and 0.5."""
    kernels = []
    for shares in (("none", "auto"), ([0.5, 0.25, 0.25], (0.75, 0.25))):
        torch.manual_seed(0)
        model = SmeDeepLab(3, backbone="starnet_s050", branch_shares=shares[0], ela_shares=shares[1])
        if drawn_anew:
            model.initialise()
        kernels.append(branch_kernels(model))
    for plain, scaled, factor in zip(*kernels, (1.5, 0.75, 0.75, 1.5, 0.5), strict=True):
        torch.testing.assert_close(scaled, factor * plain)


@pytest.mark.parametrize("backbone", ["mobilenetv2", "xception"])
def test_imagenet_weights_fit_by_name(backbone, monkeypatch):
    if backbone == "xception":
        library, name = pytest.importorskip("timm"), "create_model"
        real = library.create_model
        monkeypatch.setattr(library, name, lambda model, pretrained: real(model, pretrained=not pretrained))
    else:
        library = pytest.importorskip("torchvision.models")
        real = library.mobilenet_v2
        monkeypatch.setattr(library, "mobilenet_v2", lambda weights: real(weights=None))
    with torch.device("meta"):
        model = SmeDeepLab(1, backbone=backbone)
        state = model.pretrained_encoder()
    assert all(state[key].shape == value.shape for key, value in model.encoder.state_dict().items())


def test_preset_switches_of_the_two_unwritten_claims():
    preset = load_preset(
        "sme-deeplab",
        ["model.branch_shares=auto", "model.ela_shares=auto", "train.dynamic_threshold={reference: auto}"],
    )
    assert preset.train.dynamic_threshold.reference == "auto"
    assert preset.model.options["branch_shares"] == "auto"
    plain = load_preset("sme-deeplab")
    assert plain.train.dynamic_threshold is None and "branch_shares" not in plain.model.options


def test_preset_selects_by_the_papers_metric():
    assert load_preset("sme-deeplab").train.select == "val/miou"


def test_attention_that_cannot_divide_the_channels_is_refused():
    with pytest.raises(InputError, match="multiple of 16 channels"):
        SmeDeepLab(3, backbone="starnet_s1", ela="b")
