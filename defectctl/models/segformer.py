"""SegFormer of segmentation-models-pytorch (Xie et al. 2021, arXiv 2105.15203): a transformer with an MLP decoder."""

from __future__ import annotations

import segmentation_models_pytorch as smp

from defectctl.models.library import LibraryNetwork


class SegFormer(LibraryNetwork):
    """`forward`: images `(N, C, H, W)` to `Output` with logits `(N, 1 + classes, ceil(H / 4), ceil(W / 4))`.

    Args:
        classes: defect classes, background not counted.
        channels: channels of the image.
        encoder: `mit_b0` (light) to `mit_b5`.
    """

    def __init__(self, classes: int, channels: int = 3, encoder: str = "mit_b0") -> None:
        super().__init__(smp.Segformer, classes, channels, encoder, logit_stride=4, upsampling=1)
