"""PSPNet of segmentation-models-pytorch (Zhao et al. 2017, arXiv 1612.01105): means over parts of four sizes."""

from __future__ import annotations

import segmentation_models_pytorch as smp

from defectctl.models.library import LibraryNetwork

OUTPUT_STRIDE = 8
"""Of the dilated encoder, as in the paper (section 3.2)."""


class PSPNet(LibraryNetwork):
    """`forward`: images `(N, C, H, W)` to `Output` with logits `(N, 1 + classes, ceil(H / 8), ceil(W / 8))`.

    The whole encoder is used, dilated to stride 8. (The library's default stops the encoder at its third stage and
    keeps the weights of the later ones unused: with ResNet50, 22 of 24 million.)

    Args:
        classes: defect classes, background not counted.
        channels: channels of the image.
        encoder: name of the library's encoder; one that pools its way down (VGG, DenseNet, Inception) cannot be used.
    """

    def __init__(self, classes: int, channels: int = 3, encoder: str = "resnet50") -> None:
        super().__init__(
            smp.PSPNet,
            classes,
            channels,
            encoder,
            logit_stride=OUTPUT_STRIDE,
            encoder_depth=5,
            upsampling=1,
            output_stride=OUTPUT_STRIDE,
        )
