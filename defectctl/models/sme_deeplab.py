"""SME-DeepLabV3+: StarNet, multi-scale attention aggregation and local attention (PLoS ONE 20(8), 2025, e0329628)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from defectctl.models.backbones.starnet import StarNet
from defectctl.models.blocks.aspp import ASPP
from defectctl.models.blocks.conv import ConvNorm, initialise_normal
from defectctl.models.blocks.dropout import QuickDropout
from defectctl.models.blocks.ela import ELA
from defectctl.models.blocks.msaa import MSAA
from defectctl.models.output import Output

SHALLOW_WIDTH = 48
DECODER_WIDTH = 256


class SmeDeepLab(nn.Module):
    """Segmentation network SME-DeepLabV3+; its eight published counts hold for `starnet_s4`, 4 classes.

    `forward`: images `(N, C, H, W)`, H and W at least 32, to `Output` with mask logits
    `(N, 1 + classes, ceil(H / 4), ceil(W / 4))`.

    Args:
        classes: defect classes, background not counted.
        channels: channels of the image.
        backbone: a StarNet variant.
        context: what gathers the deep features: `msaa`, `aspp`, or `aspp+msaa` (one after the other).
        shallow_attention: `ela` or `none`, on the first stage's features.
        ela: kind of local attention, see `ELA`.
        drop_path: stochastic depth of the backbone.
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
    ) -> None:
        super().__init__()
        self.encoder = StarNet(backbone, channels, drop_path)
        shallow, deep = self.encoder.widths[0], self.encoder.widths[-1]
        attention = ELA(shallow, ela) if shallow_attention == "ela" else nn.Identity()
        self.segmentation = SmeHead(shallow, deep, 1 + classes, context, attention)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The parts that a training stage may name."""
        return {"encoder": self.encoder, "segmentation": self.segmentation}

    def initialise(self) -> None:
        """Start without pretrained weights: convolutions N(0, 0.02²), batch norm N(1, 0.02²)."""
        initialise_normal(self)

    def pretrained_encoder(self) -> dict[str, Tensor]:
        """Return ImageNet weights of the encoder for 3-channel images, fetched or found in the cache by timm."""
        import timm

        return timm.create_model(self.encoder.variant, pretrained=True).state_dict()

    def forward(self, images: Tensor) -> Output:
        features = self.encoder(images)
        return Output(mask_logits=self.segmentation(features[0], features[-1]))


class SmeHead(nn.Module):
    """From the backbone's first and last features to mask logits at the first one's size.

    The last features (stride 32) are doubled twice, bilinearly, so that the context works at stride 8.
    """

    def __init__(self, shallow: int, deep: int, outputs: int, context: str, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.upsample = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.Upsample(scale_factor=2, mode="bilinear")
        )
        self.context = nn.Sequential()
        width = deep
        for name in context.split("+"):
            # the paper's module takes three maps; its counts fit three copies of one map
            block = MSAA(3 * width, DECODER_WIDTH) if name == "msaa" else ASPP(width, DECODER_WIDTH)
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
