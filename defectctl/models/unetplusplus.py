"""UNet++ of segmentation-models-pytorch (Zhou et al. 2018, arXiv 1807.10165): nested skip paths."""

from __future__ import annotations

import segmentation_models_pytorch as smp

from defectctl.models.library import LibraryNetwork


class UNetPlusPlus(LibraryNetwork):
    """`forward`: images `(N, C, H, W)` to `Output` with logits `(N, 1 + classes, H, W)`.

    Without the paper's deep supervision (section 3.2): its "accurate mode" reads the last of the nested decoders only.

    Args:
        classes: defect classes, background not counted.
        channels: channels of the image.
        encoder: name of the library's encoder; one without a map at stride 2 (`mit_b0`) cannot be used.
    """

    def __init__(self, classes: int, channels: int = 3, encoder: str = "resnet34") -> None:
        super().__init__(smp.UnetPlusPlus, classes, channels, encoder, logit_stride=1)
