"""LNet/DNet: a heat map of the defects and a verdict on the part, learned from "good" and "defective" alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defectctl.errors import InputError
from defectctl.models.blocks.mirror import MirrorConvNorm
from defectctl.models.blocks.pooling import halving_pool
from defectctl.models.blocks.rsam import ResidualSpatialAttention
from defectctl.models.blocks.width import scaled
from defectctl.models.output import Output, two_class


class DecisionNet(nn.Module):
    """DNet: features `(N, in, h, w)` and heat map `(N, 1, h, w)` of 0..1 to the logit `(N,)` of a defective part.

    Three halvings deeper, the mean of each of the last channels and the mean of the heat map go through one linear
    layer, or through a hidden one of the same size before it (`hidden`).
    """

    def __init__(self, in_channels: int, widths: tuple[int, int, int, int], kernel: int, hidden: bool) -> None:
        super().__init__()
        self.attention = ResidualSpatialAttention()
        first, second, third, last = widths
        self.features = nn.Sequential(
            MirrorConvNorm(in_channels, first, kernel, pooled=True),
            halving_pool(),
            MirrorConvNorm(first, second, kernel, pooled=True),
            halving_pool(),
            MirrorConvNorm(second, third, kernel, pooled=True),
            halving_pool(),
            MirrorConvNorm(third, last, kernel, pooled=True),
        )
        size = last + 1
        self.hidden = nn.Sequential(nn.Linear(size, size), nn.ReLU(inplace=True)) if hidden else nn.Identity()
        self.verdict = nn.Linear(size, 1)

    def forward(self, features: Tensor, heat: Tensor) -> Tensor:
        deep = self.features(self.attention(features, heat))
        summary = torch.cat([deep.mean((2, 3)), heat.mean((2, 3))], dim=1)
        return self.verdict(self.hidden(summary)).squeeze(1)


class WeakLNetDNet(nn.Module):
    """`forward`: images `(N, C, H, W)` to `Output` with logits `(N, 2, ceil(H / 8), ceil(W / 8))` and image logits.

    The heat map M is sigmoid(z), the probability of "defect" in `mask_logits = [0, z]`. A cell of it sees 228 x 228
    pixels. Every convolution sees its input mirrored at the edge; below 64 pixels a side the largest kernel (15 on the
    map at stride 8) finds too little to mirror and the edge is repeated. In the last stage of the training the
    verdict's gradient reaches LNet through M, as everything trains there; in the second stage only `decision` trains.

    LNet/DNet, weakly supervised (IEEE Access, 2020), tables 1 and 2. Readings where the paper is silent or
    contradicts itself: seven shared convolutions as in table 1 (the text counts six), no batch norm on the heat map,
    the first three convolutions of DNet followed by a halving, mirrored edges in DNet too.

    Args:
        classes: must be 1: an image's label says that there is a defect, not of what kind.
        channels: channels of the image; 1 in the paper.
        decision_kernel: kernel of DNet's convolutions, 3 or 5.
        decision_hidden: puts a linear layer of 257 and a ReLU before DNet's last one, the other reading of the text.
        width: share of the paper's channels.

    Raises:
        InputError: more than one class.
    """

    def __init__(
        self,
        classes: int,
        channels: int = 1,
        decision_kernel: int = 3,
        decision_hidden: bool = False,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        if classes != 1:
            raise InputError(
                f"'weak-lnet-dnet' learns from good and defective images alone and knows one class, not {classes}; "
                "prepare the dataset with its classes merged into one"
            )
        w32, w64, w128, w256, w512 = (scaled(size, width) for size in (32, 64, 128, 256, 512))
        self.shared = nn.Sequential(
            MirrorConvNorm(channels, w32),
            MirrorConvNorm(w32, w32),
            halving_pool(),
            MirrorConvNorm(w32, w64),
            MirrorConvNorm(w64, w64),
            halving_pool(),
            MirrorConvNorm(w64, w128),
            MirrorConvNorm(w128, w128),
            halving_pool(),
            MirrorConvNorm(w128, w128),
        )
        self.localisation = nn.Sequential(
            MirrorConvNorm(w128, w64, 5),
            MirrorConvNorm(w64, w64, 5),
            MirrorConvNorm(w64, w512, 15),
            nn.Conv2d(w512, 1, 1),
        )
        self.decision = DecisionNet(w128, (w64, w64, w128, w256), decision_kernel, decision_hidden)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The parts that a training stage may name."""
        return {"shared": self.shared, "localisation": self.localisation, "decision": self.decision}

    def forward(self, images: Tensor) -> Output:
        features = self.shared(images)
        logit = self.localisation(features)
        verdict = self.decision(features, logit.sigmoid())
        return Output(mask_logits=two_class(logit), image_logit=verdict)
