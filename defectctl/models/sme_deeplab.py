"""SME-DeepLabV3+: StarNet, multi-scale attention aggregation and local attention (PLoS ONE 20(8), 2025, e0329628)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from defectctl.errors import InputError
from defectctl.models.backbones.mobilenetv2 import MobileNetV2
from defectctl.models.backbones.starnet import StarNet
from defectctl.models.backbones.xception import Xception
from defectctl.models.blocks.aspp import ASPP
from defectctl.models.blocks.conv import ConvNorm, initialise_normal
from defectctl.models.blocks.dropout import QuickDropout
from defectctl.models.blocks.ela import ELA
from defectctl.models.blocks.msaa import MSAA
from defectctl.models.output import Output

SHALLOW_WIDTH = 48
DECODER_WIDTH = 256
RATES = (6, 12, 18)
"""Dilations of ASPP; twice that behind a backbone dilated to output stride 8."""

Shares = list[float] | tuple[float, ...] | str
"""One number a kernel, or a word (`none`, `auto`) that leaves the weights alone."""


class SmeDeepLab(nn.Module):
    """Segmentation network SME-DeepLabV3+; its eight published counts hold for `starnet_s4`, 4 outputs.

    `forward`: images `(N, C, H, W)`, H and W at least 32, to `Output` with mask logits
    `(N, 1 + classes, ceil(H / 4), ceil(W / 4))`. With `mobilenetv2` or `xception`, `context: aspp` and no attention it
    is the DeepLabV3+ that the paper compares with, and has that one's counts.

    Args:
        classes: defect classes, background not counted.
        channels: channels of the image.
        backbone: a StarNet variant, `mobilenetv2` or `xception`.
        context: what gathers the deep features: `msaa`, `aspp`, or `aspp+msaa` (one after the other).
        shallow_attention: `ela` or `none`, on the first features, at stride 4.
        ela: kind of local attention, see `ELA`.
        drop_path: stochastic depth of a StarNet.
        output_stride: 16 or 8, of MobileNetV2 and Xception, whose context works at that stride; a StarNet goes to
            stride 32 and its context works at stride 8.
        branch_shares: adaptive initialisation of the three kernels of MSAA, see `MSAA.scale_branches`.
        ela_shares: adaptive initialisation of the two kernels of ELA, see `ELA.scale_branches`.

    Raises:
        InputError: an option that this backbone, context or attention cannot use.
    """

    def __init__(
        self,
        classes: int,
        channels: int = 3,
        backbone: str = "starnet_s4",
        context: str = "msaa",
        shallow_attention: str = "ela",
        ela: str = "dual",
        drop_path: float = 0.0,
        output_stride: int = 16,
        branch_shares: Shares = "none",
        ela_shares: Shares = "none",
    ) -> None:
        super().__init__()
        self.encoder = _backbone(backbone, channels, drop_path, output_stride)
        shallow, deep = self.encoder.widths[0], self.encoder.widths[-1]
        attention = ELA(shallow, ela) if shallow_attention == "ela" else nn.Identity()
        doublings = 2 if isinstance(self.encoder, StarNet) else 0
        rates = tuple(rate * 16 // output_stride for rate in RATES)
        self.segmentation = SmeHead(shallow, deep, 1 + classes, context, attention, doublings, rates)
        self.shares = {MSAA: branch_shares, ELA: ela_shares}
        self._check_shares()
        self._scale_branches()  # here too: with ImageNet weights nothing else starts the context

    def _check_shares(self) -> None:
        there = {type(module) for module in self.segmentation.modules()}
        if _given(self.shares[MSAA]) and MSAA not in there:
            raise InputError(
                "model.branch_shares starts the kernels of MSAA, and 'context: aspp' has none; leave it out"
            )
        if _given(self.shares[ELA]) and ELA not in there:
            raise InputError(
                "model.ela_shares starts the kernels of ELA, and 'shallow_attention: none' has none; leave it out"
            )

    def _scale_branches(self) -> None:
        for module in self.segmentation.modules():
            shares = self.shares.get(type(module))
            if _given(shares):
                module.scale_branches(shares)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The parts that a training stage may name."""
        return {"encoder": self.encoder, "segmentation": self.segmentation}

    def initialise(self) -> None:
        """Start without pretrained weights: convolutions N(0, 0.02²), batch norm N(1, 0.02²), then the shares."""
        initialise_normal(self)
        self._scale_branches()

    def pretrained_encoder(self) -> dict[str, Tensor]:
        """Return ImageNet weights of the encoder for 3-channel images, fetched or found in the cache by a library."""
        if isinstance(self.encoder, MobileNetV2):
            from torchvision.models import mobilenet_v2

            return mobilenet_v2(weights="IMAGENET1K_V1").state_dict()
        import timm

        name = self.encoder.variant if isinstance(self.encoder, StarNet) else "xception65"
        return timm.create_model(name, pretrained=True).state_dict()

    def forward(self, images: Tensor) -> Output:
        features = self.encoder(images)
        return Output(mask_logits=self.segmentation(features[0], features[-1]))


def _given(shares: Shares | None) -> bool:
    return isinstance(shares, list | tuple)


def _backbone(name: str, channels: int, drop_path: float, output_stride: int) -> StarNet | MobileNetV2 | Xception:
    """Build the backbone, or say which option it cannot use."""
    if name.startswith("starnet"):
        if output_stride != 16:
            raise InputError(
                f"model.output_stride: {output_stride} is for the backbones mobilenetv2 and xception; '{name}' is not "
                "dilated, its context works at stride 8 anyway"
            )
        return StarNet(name, channels, drop_path)
    if drop_path:
        raise InputError(f"model.drop_path is for StarNet backbones; '{name}' has no stochastic depth, leave it out")
    return (Xception if name == "xception" else MobileNetV2)(channels, output_stride)


class SmeHead(nn.Module):
    """From the backbone's first and last features to mask logits at the first one's size.

    Args:
        shallow, deep: channels of the first and of the last features.
        outputs: planes of the logits.
        context: see `SmeDeepLab`.
        attention: what the first features pass through.
        doublings: how often the last features are doubled, bilinearly, before the context: StarNet's (stride 32)
            twice, so that the context works at stride 8.
        rates: dilations of ASPP.
    """

    def __init__(
        self,
        shallow: int,
        deep: int,
        outputs: int,
        context: str,
        attention: nn.Module,
        doublings: int = 2,
        rates: tuple[int, ...] = RATES,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.upsample = nn.Sequential(*(nn.Upsample(scale_factor=2, mode="bilinear") for _ in range(doublings)))
        self.context = nn.Sequential()
        width = deep
        for name in context.split("+"):
            # the paper's module takes three maps; its counts fit three copies of one map
            block = MSAA(3 * width, DECODER_WIDTH) if name == "msaa" else ASPP(width, DECODER_WIDTH, rates)
            self.context.add_module(name, block)
            width = DECODER_WIDTH
        self.shallow = ConvNorm(shallow, SHALLOW_WIDTH, activation=nn.ReLU(inplace=True))
        self.fuse = nn.Sequential(
            ConvNorm(DECODER_WIDTH + SHALLOW_WIDTH, DECODER_WIDTH, 3, activation=nn.ReLU(inplace=True)),
            QuickDropout(0.5),
            ConvNorm(DECODER_WIDTH, DECODER_WIDTH, 3, activation=nn.ReLU(inplace=True)),
            QuickDropout(0.1),
        )
        self.classify = nn.Conv2d(DECODER_WIDTH, outputs, 1)

    def forward(self, first: Tensor, last: Tensor) -> Tensor:
        low = self.shallow(self.attention(first))
        high = self.context(self.upsample(last))
        high = functional.interpolate(high, size=low.shape[2:], mode="bilinear", align_corners=True)
        return self.classify(self.fuse(torch.cat([high, low], dim=1)))
