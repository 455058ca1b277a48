"""U-Net of segmentation-models-pytorch: the decoder of Ronneberger et al. 2015 on any classification network."""

from __future__ import annotations

import segmentation_models_pytorch as smp

from defectctl.models.library import LibraryNetwork


class UNetEncoder(LibraryNetwork):
    """`forward`: images `(N, C, H, W)` to `Output` with logits `(N, 1 + classes, H, W)`.

    The decoder has 256, 128, 64, 32 and 16 channels and enlarges by repeating pixels; its skip connections come from
    the encoder's maps at strides 2 to 16 (Ronneberger et al., arXiv 1505.04597, figure 1).

    Args:
        classes: defect classes, background not counted.
        channels: channels of the image.
        encoder: name of the library's encoder; with a ResNet it is what is often called Res-UNet.
    """

    def __init__(self, classes: int, channels: int = 3, encoder: str = "mobilenet_v2") -> None:
        super().__init__(smp.Unet, classes, channels, encoder, logit_stride=1)
