"""SegDecNet: a network that outlines defects under pixel labels, and a small one on top that judges the part."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defectctl.models.blocks.feature_norm import FeatureNorm
from defectctl.models.blocks.pooling import halving_pool
from defectctl.models.blocks.width import scaled
from defectctl.models.output import Output


def _block(in_channels: int, out_channels: int, kernel: int = 5) -> nn.Sequential:
    """Convolution with zero padding, feature norm (whose bias stands for the convolution's), ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
        FeatureNorm(out_channels),
        nn.ReLU(inplace=True),
    )


class SegmentationNet(nn.Module):
    """Images `(N, C, H, W)` to features `(N, 1024, h, w)` and the classes' logits `(N, K, h, w)`, `h = ceil(H / 8)`.

    The logits are normalised per image as well, then scaled and shifted by learned numbers: that keeps plain SGD
    steady at the paper's learning rate of 1.
    """

    def __init__(self, classes: int, channels: int, w32: int, w64: int, w1024: int) -> None:
        super().__init__()
        self.volume = nn.Sequential(
            _block(channels, w32),
            _block(w32, w32),
            halving_pool(),
            _block(w32, w64),
            _block(w64, w64),
            _block(w64, w64),
            halving_pool(),
            _block(w64, w64),
            _block(w64, w64),
            _block(w64, w64),
            _block(w64, w64),
            halving_pool(),
            _block(w64, w1024, 15),
        )
        self.mask = nn.Sequential(nn.Conv2d(w1024, classes, 1, bias=False), FeatureNorm(classes))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        volume = self.volume(images)
        return volume, self.mask(volume)


class DecisionNet(nn.Module):
    """Features `(N, in, h, w)` and logits `(N, K, h, w)` to the logit `(N,)` of a defective part.

    Mean and largest value of each of the 32 last channels and of the logits themselves (a shortcut past the
    convolutions) are, with one class, 66 numbers for one linear layer. Below 128 pixels a side the last map is a
    single pixel, its norm a constant, and only the shortcut still tells images apart.
    """

    def __init__(self, classes: int, in_channels: int, w8: int, w16: int, w32: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            halving_pool(),
            _block(in_channels + classes, w8),
            halving_pool(),
            _block(w8, w16),
            halving_pool(),
            _block(w16, w32),
        )
        self.verdict = nn.Linear(2 * (w32 + classes), 1)

    def forward(self, volume: Tensor, logits: Tensor) -> Tensor:
        deep = self.features(torch.cat([volume, logits], dim=1))
        maps = (deep, logits)
        summary = torch.cat([m.mean((2, 3)) for m in maps] + [m.amax((2, 3)) for m in maps], dim=1)
        return self.verdict(summary).squeeze(1)


class SegDecNet(nn.Module):
    """`forward`: images `(N, C, H, W)` to logits `(N, 1 + classes, ceil(H / 8), ceil(W / 8))` and image logits `(N,)`.

    Tabernik et al., "Segmentation-based deep-learning approach for surface-defect detection" (J. Intelligent
    Manufacturing, 2019), with the end-to-end training of Božič et al., "Mixed supervision for surface-defect
    detection" (Computers in Industry, 2021). Written from the papers' description.

    Args:
        classes: defect classes, background not counted; 1 in the papers. The background's logit is always 0.
        channels: channels of the image.
        stop_gradient: keeps the verdict's gradient out of the segmentation part (2021). Must be False where no pixel
            labels train that part: it would stay as it started.
        width: share of the papers' channels.
    """

    def __init__(self, classes: int, channels: int = 1, stop_gradient: bool = True, width: float = 1.0) -> None:
        super().__init__()
        w8, w16, w32, w64, w1024 = (scaled(size, width) for size in (8, 16, 32, 64, 1024))
        self.stop_gradient = stop_gradient
        self.segmentation = SegmentationNet(classes, channels, w32, w64, w1024)
        self.decision = DecisionNet(classes, w1024, w8, w16, w32)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The parts that a training stage may name."""
        return {"segmentation": self.segmentation, "decision": self.decision}

    def forward(self, images: Tensor) -> Output:
        volume, logits = self.segmentation(images)
        seen = (volume.detach(), logits.detach()) if self.stop_gradient else (volume, logits)
        background = torch.zeros_like(logits[:, :1])
        return Output(mask_logits=torch.cat([background, logits], dim=1), image_logit=self.decision(*seen))
