"""UPerNet of segmentation-models-pytorch (Xiao et al. 2018, arXiv 1807.10221), by default on ConvNeXt."""

from __future__ import annotations

import segmentation_models_pytorch as smp

from defectctl.models.blocks.conv import forgive_single_image
from defectctl.models.library import LibraryNetwork


class UPerNet(LibraryNetwork):
    """`forward`: images `(N, C, H, W)` to `Output` with logits `(N, 1 + classes, ceil(H / 4), ceil(W / 4))`.

    A pyramid pooling module on the deepest map and a feature pyramid over strides 4 to 32, 256 channels each.

    Args:
        classes: defect classes, background not counted.
        channels: channels of the image.
        encoder: name of the library's encoder; by default ConvNeXt (Liu et al. 2022, arXiv 2201.03545).
    """

    def __init__(self, classes: int, channels: int = 3, encoder: str = "tu-convnext_tiny") -> None:
        super().__init__(smp.UPerNet, classes, channels, encoder, logit_stride=4, upsampling=1)
        # the first block of the pyramid pooling is the mean of the whole map: one value per channel and image
        forgive_single_image(self.segmentation["decoder"].psp.blocks[0][1])
