"""HRNetV2 for segmentation (Wang et al. 2020, arXiv 1908.07919): four resolutions side by side from start to end."""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from defectctl.models.blocks.edge_padding import crop_to_stride, pad_to_multiple
from defectctl.models.output import Output

STRIDE = 32
LOGIT_STRIDE = 4
BRANCHES = (1, 2, 3, 4)
"""timm's numbers of the four resolutions at strides 4 to 32; 0 is its stem."""


class HRNetHead(nn.Sequential):
    """The four maps of HRNet to logits at stride 4 (HRNetV2: section 3.3 and figure 4b; layers: section 5).

    The lower resolutions are enlarged bilinearly to the highest and all are joined; a 1x1 convolution with batch norm
    and ReLU mixes them, a 1x1 convolution classifies.

    Args:
        channels: channels of the four maps.
        planes: planes of the logits.
    """

    def __init__(self, channels: list[int], planes: int) -> None:
        width = sum(channels)
        super().__init__(
            nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Conv2d(width, planes, 1)
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        size = features[0].shape[2:]
        lower = [functional.interpolate(f, size=size, mode="bilinear", align_corners=False) for f in features[1:]]
        return super().forward(torch.cat([features[0], *lower], dim=1))


class HRNet(nn.Module):
    """`forward`: images `(N, C, H, W)` to `Output` with logits `(N, 1 + classes, ceil(H / 4), ceil(W / 4))`.

    The backbone is timm's, without the layers that widen its maps for classification.

    Args:
        classes: defect classes, background not counted.
        channels: channels of the image.
        backbone: `hrnet_w18`, `hrnet_w32`, `hrnet_w48` or the light `hrnet_w18_small`.
    """

    def __init__(self, classes: int, channels: int = 3, backbone: str = "hrnet_w18") -> None:
        super().__init__()
        self.backbone = backbone
        self.encoder = self._build_encoder(channels, pretrained=False)
        self.segmentation = HRNetHead(self.encoder.feature_info.channels(), 1 + classes)

    def _build_encoder(self, channels: int, pretrained: bool) -> nn.Module:
        return timm.create_model(
            self.backbone,
            pretrained=pretrained,
            in_chans=channels,
            features_only=True,
            feature_location="",
            out_indices=BRANCHES,
        )

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The parts that a training stage may name."""
        return {"encoder": self.encoder, "segmentation": self.segmentation}

    def pretrained_encoder(self) -> dict[str, Tensor]:
        """Return ImageNet weights of the encoder for 3-channel images, fetched or found in the cache by timm."""
        return self._build_encoder(3, pretrained=True).state_dict()

    def forward(self, images: Tensor) -> Output:
        height, width = images.shape[2:]
        logits = self.segmentation(self.encoder(pad_to_multiple(images, STRIDE, self.training)))
        return Output(mask_logits=crop_to_stride(logits, height, width, LOGIT_STRIDE))
