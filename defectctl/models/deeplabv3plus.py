"""DeepLabV3+ of segmentation-models-pytorch (Chen et al. 2018, arXiv 1802.02611), with MobileNetV2 a light network."""

from __future__ import annotations

import segmentation_models_pytorch as smp

from defectctl.models.blocks.conv import forgive_single_image
from defectctl.models.library import LibraryNetwork


class DeepLabV3Plus(LibraryNetwork):
    """`forward`: images `(N, C, H, W)` to `Output` with logits `(N, 1 + classes, ceil(H / 4), ceil(W / 4))`.

    Args:
        classes: defect classes, background not counted.
        channels: channels of the image.
        encoder: name of the library's encoder; one that pools its way down (VGG, DenseNet, Inception) cannot be used.
        output_stride: 16, or 8 for finer and slower deep features.
    """

    def __init__(self, classes: int, channels: int = 3, encoder: str = "mobilenet_v2", output_stride: int = 16) -> None:
        super().__init__(
            smp.DeepLabV3Plus,
            classes,
            channels,
            encoder,
            logit_stride=4,
            encoder_output_stride=output_stride,
            upsampling=1,
        )
        forgive_single_image(self.segmentation["decoder"].aspp[0].convs[-1])
