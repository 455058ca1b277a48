"""DeepLabV3+ of segmentation-models-pytorch (Chen et al. 2018, arXiv 1802.02611), with MobileNetV2 a light network."""

from __future__ import annotations

import segmentation_models_pytorch as smp
from torch import Tensor, nn
from torch.nn import functional

from defectctl.models.blocks.aspp import forgive_single_image
from defectctl.models.output import Output

STRIDE = 32
LOGIT_STRIDE = 4


class DeepLabV3Plus(nn.Module):
    """`forward`: images `(N, C, H, W)` to `Output` with logits `(N, 1 + classes, ceil(H / 4), ceil(W / 4))`.

    The library wants sides that are multiples of 32: the image is padded at its right and lower edge with copies of
    the edge, and the logits are cropped again.

    Args:
        classes: defect classes, background not counted.
        channels: channels of the image.
        encoder: name of the library's encoder.
        output_stride: 16, or 8 for finer and slower deep features.
    """

    def __init__(self, classes: int, channels: int = 3, encoder: str = "mobilenet_v2", output_stride: int = 16) -> None:
        super().__init__()
        self.encoder_name = encoder
        self.output_stride = output_stride
        network = smp.DeepLabV3Plus(
            encoder,
            encoder_weights=None,
            encoder_output_stride=output_stride,
            in_channels=channels,
            classes=1 + classes,
            upsampling=1,
        )
        forgive_single_image(network.decoder.aspp[0].convs[-1])
        self.encoder = network.encoder
        self.segmentation = nn.ModuleDict({"decoder": network.decoder, "head": network.segmentation_head})

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The parts that a training stage may name."""
        return {"encoder": self.encoder, "segmentation": self.segmentation}

    def pretrained_encoder(self) -> dict[str, Tensor]:
        """Return ImageNet weights of the encoder for 3-channel images, fetched or found in the cache by the library."""
        encoder = smp.encoders.get_encoder(self.encoder_name, weights="imagenet", output_stride=self.output_stride)
        return encoder.state_dict()

    def forward(self, images: Tensor) -> Output:
        height, width = images.shape[2:]
        padded = functional.pad(images, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        logits = self.segmentation["head"](self.segmentation["decoder"](self.encoder(padded)))
        return Output(mask_logits=logits[:, :, : -(-height // LOGIT_STRIDE), : -(-width // LOGIT_STRIDE)])
