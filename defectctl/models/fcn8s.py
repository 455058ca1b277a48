"""FCN-8s: VGG-16 made convolutional, with class scores from three depths (Long et al., CVPR 2015, arXiv 1411.4038)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defectctl.errors import InputError
from defectctl.models.backbones.vgg import STAGES, vgg_features
from defectctl.models.blocks.dropout import QuickDropout
from defectctl.models.blocks.he import initialise_he
from defectctl.models.blocks.pooling import halving_pool
from defectctl.models.blocks.width import scaled
from defectctl.models.output import Output

FULLY_CONNECTED = 4096
"""Channels of VGG's two hidden fully connected layers, here convolutions of 7x7 and 1x1."""


class FcnTrunk(nn.Module):
    """Images `(N, C, H, W)` to the maps after pooling 3, pooling 4 and the last hidden layer, strides 8, 16 and 32.

    Its weights have the names of torchvision's `vgg16`. An odd last row or column is pooled by itself, so sides are
    `ceil(side / stride)`.
    """

    def __init__(self, channels: int, width: float) -> None:
        super().__init__()
        self.features = vgg_features(channels, width, pool=halving_pool())
        deep, hidden = scaled(STAGES[-1][-1], width), scaled(FULLY_CONNECTED, width)
        self.widths = (scaled(STAGES[2][-1], width), scaled(STAGES[3][-1], width), hidden)
        self.classifier = nn.Sequential(
            nn.Conv2d(deep, hidden, 7, padding=3),
            nn.ReLU(inplace=True),
            QuickDropout(0.5),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(inplace=True),
            QuickDropout(0.5),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        current, pooled = images, []
        for layer in self.features:
            current = layer(current)
            if isinstance(layer, nn.MaxPool2d):
                pooled.append(current)
        return pooled[2], pooled[3], self.classifier(current)


class FcnHead(nn.Module):
    """Scores of the classes from the trunk's three maps, each added to the doubled sum of the deeper ones.

    The doublings are learned transposed convolutions that start as bilinear ones; the scores start at 0 (section 4.3).
    """

    def __init__(self, widths: tuple[int, int, int], outputs: int) -> None:
        super().__init__()
        self.score = nn.ModuleList(nn.Conv2d(width, outputs, 1) for width in widths)
        self.doubling = nn.ModuleList(
            nn.ConvTranspose2d(outputs, outputs, 4, stride=2, padding=1, bias=False) for _ in widths[1:]
        )
        self.initialise()

    def initialise(self) -> None:
        """Scores 0, doublings bilinear within each class."""
        for score in self.score:
            nn.init.zeros_(score.weight)
            nn.init.zeros_(score.bias)
        profile = torch.tensor([0.25, 0.75, 0.75, 0.25])
        for doubling in self.doubling:
            planes = torch.eye(doubling.in_channels)[:, :, None, None]
            with torch.no_grad():
                doubling.weight.copy_(planes * torch.outer(profile, profile))

    def forward(self, maps: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        scores = self.score[2](maps[2])
        for depth in (1, 0):
            height, width = maps[depth].shape[2:]
            doubled = self.doubling[depth](scores)[:, :, :height, :width]
            scores = self.score[depth](maps[depth]) + doubled
        return scores


class FCN8s(nn.Module):
    """`forward`: images `(N, C, H, W)` to `Output` with logits `(N, 1 + classes, ceil(H / 8), ceil(W / 8))`.

    The last enlargement, by 8, is bilinear and not learned in the paper, so it is left to whoever reads the logits.
    Every convolution has "same" padding; the authors' code pads the image by 100 pixels and crops instead, because its
    7x7 convolution has none. 134,376,863 parameters at 21 outputs (134 M in table 1).

    Args:
        classes: defect classes, background not counted.
        channels: channels of the image.
        width: share of the paper's channels.
    """

    def __init__(self, classes: int, channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        self.width = width
        self.encoder = FcnTrunk(channels, width)
        self.segmentation = FcnHead(self.encoder.widths, 1 + classes)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The parts that a training stage may name."""
        return {"encoder": self.encoder, "segmentation": self.segmentation}

    def initialise(self) -> None:
        """Start without pretrained weights: the trunk, which has no norm, N(0, 2 / inputs of a unit)."""
        initialise_he(self.encoder)
        self.segmentation.initialise()

    def pretrained_encoder(self) -> dict[str, Tensor]:
        """Return ImageNet weights of the trunk for 3-channel images, fetched or found in the cache by torchvision.

        The fully connected layers become convolutions with the same weights (section 3.1).

        Raises:
            InputError: the trunk is narrower than the one with weights.
        """
        if self.width != 1:
            raise InputError(f"model.weights: there are ImageNet weights for 'width: 1' only, not {self.width:g}")
        from torchvision.models import vgg16

        state = vgg16(weights="IMAGENET1K_V1").state_dict()
        own = self.encoder.state_dict()
        return {key: value.reshape(own[key].shape[0], -1, *own[key].shape[2:]) if value.dim() == 2 else value
                for key, value in state.items() if key in own}  # fmt: skip

    def forward(self, images: Tensor) -> Output:
        return Output(mask_logits=self.segmentation(self.encoder(images)))
