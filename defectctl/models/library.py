"""Networks of segmentation-models-pytorch behind this package's interface: padding, encoders, parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from defectctl.errors import InputError, nearest
from defectctl.models.blocks.edge_padding import crop_to_stride, pad_to_multiple
from defectctl.models.output import Output

STRIDE = 32
"""Sides of an image have to be multiples of this for the library's encoders."""

TIMM = "tu-"
"""Prefix of the encoders that the library takes from timm."""

FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What the libraries raise where an encoder does not exist or does not fit; they document none of it."""


class LibraryNetwork(nn.Module):
    """`forward`: images `(N, C, H, W)` to `Output` with logits `(N, 1 + classes, ceil(H / s), ceil(W / s))`.

    The library wants sides that are multiples of 32: the image is padded at its right and lower edge with copies of
    the edge, and the logits are cropped again.

    Args:
        architecture: the library's class.
        classes: defect classes, background not counted.
        channels: channels of the image.
        encoder: name of the library's encoder, or `tu-` and the name of timm's.
        logit_stride: the `s` above.
        settings: further arguments of `architecture`; `encoder_output_stride` or `output_stride` below 32 dilates the
            encoder.

    Raises:
        InputError: there is no such encoder, or this architecture cannot use it.
    """

    def __init__(
        self,
        architecture: Callable[..., nn.Module],
        classes: int,
        channels: int,
        encoder: str,
        logit_stride: int,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.encoder_name = encoder
        self.output_stride = settings.get("encoder_output_stride", settings.get("output_stride", STRIDE))
        self.logit_stride = logit_stride
        try:
            network = architecture(encoder, encoder_weights=None, in_channels=channels, classes=1 + classes, **settings)
            if encoder.startswith(TIMM):
                _try_out(network, channels)
        except FAULTS as error:
            raise InputError(_encoder_problem(encoder, type(self).__name__, self.output_stride, error)) from error
        self.encoder = network.encoder
        self.segmentation = nn.ModuleDict({"decoder": network.decoder, "head": network.segmentation_head})

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The parts that a training stage may name."""
        return {"encoder": self.encoder, "segmentation": self.segmentation}

    def pretrained_encoder(self) -> dict[str, Tensor]:
        """Return ImageNet weights of the encoder for 3-channel images, fetched or found in the cache by the library."""
        weights = True if self.encoder_name.startswith(TIMM) else "imagenet"
        encoder = smp.encoders.get_encoder(self.encoder_name, weights=weights, output_stride=self.output_stride)
        return encoder.state_dict()

    def forward(self, images: Tensor) -> Output:
        height, width = images.shape[2:]
        features = self.encoder(pad_to_multiple(images, STRIDE, self.training))
        logits = self.segmentation["head"](self.segmentation["decoder"](features))
        return Output(mask_logits=crop_to_stride(logits, height, width, self.logit_stride))


def _try_out(network: nn.Module, channels: int) -> None:
    """Run a small image through: among timm's many models are some that take images of one size only."""
    network.eval()
    with torch.no_grad():
        network(torch.zeros(1, channels, 2 * STRIDE, 3 * STRIDE))
    network.train()


def _encoder_problem(encoder: str, architecture: str, output_stride: int, error: Exception) -> str:
    """The one sentence for an encoder that could not be built."""
    names = smp.encoders.get_encoder_names()
    if encoder.startswith(TIMM) and str(error).startswith("Unknown model"):
        return f"model.encoder: timm has no model '{encoder.removeprefix(TIMM)}'; look up the name, or use resnet34"
    if not encoder.startswith(TIMM) and encoder not in names:
        hint = nearest(encoder, names) or f"; the encoders of timm are called {TIMM}NAME, e.g. {TIMM}convnext_tiny"
        return f"model.encoder: segmentation-models-pytorch has no encoder '{encoder}'{hint}"
    need = f" dilated to output stride {output_stride}" if output_stride < STRIDE else ""
    lines = str(error).strip().splitlines()
    reason = f" ({lines[0].rstrip('.!')})" if lines else ""
    return f"model.encoder: {architecture} cannot use the encoder '{encoder}'{need}{reason}; try resnet34"
