"""SegNet: VGG-16 and its mirror image, joined by the places of the maxima (Badrinarayanan et al., TPAMI 2017)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from defectctl.errors import InputError
from defectctl.models.backbones.vgg import STAGES, vgg_features
from defectctl.models.blocks.edge_padding import crop_to_stride, pad_to_multiple
from defectctl.models.blocks.he import initialise_he
from defectctl.models.blocks.width import scaled
from defectctl.models.output import Output

STRIDE = 2 ** len(STAGES)
"""Sides of an image have to be multiples of this."""


class SegNetEncoder(nn.Module):
    """Images `(N, C, H, W)` to the last map `(N, 512 width, H / 32, W / 32)` and the places of each pooling's maxima.

    Its weights have the names of torchvision's `vgg16_bn`.
    """

    def __init__(self, channels: int, width: float) -> None:
        super().__init__()
        self.features = vgg_features(channels, width, norm=True, pool=nn.MaxPool2d(2, return_indices=True))

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        current, places = images, []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                current, where = layer(current)
                places.append(where)
            else:
                current = layer(current)
        return current, places


class SegNetDecoder(nn.Module):
    """The encoder's last map and places to logits `(N, outputs, H, W)`.

    Each stage puts its values back to the places of the maxima, zeros elsewhere, and fills the gaps by the encoder's
    convolutions in reverse order, with batch norm and ReLU. The last one, 64 to the classes, has neither.
    """

    def __init__(self, outputs: int, width: float) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for number in reversed(range(len(STAGES))):
            sizes = [scaled(size, width) for size in STAGES[number]]
            last = scaled(STAGES[number - 1][-1], width) if number else outputs
            layers: list[nn.Module] = []
            for size, out in zip(sizes, [*sizes[1:], last], strict=True):
                layers += [nn.Conv2d(size, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
            self.stages.append(nn.Sequential(*(layers if number else layers[:-2])))

    def forward(self, features: Tensor, places: list[Tensor]) -> Tensor:
        for stage, where in zip(self.stages, reversed(places), strict=True):
            features = stage(functional.max_unpool2d(features, where, 2))
        return features


class SegNet(nn.Module):
    """`forward`: images `(N, C, H, W)` to `Output` with logits `(N, 1 + classes, H, W)`.

    SegNet of arXiv 1511.00561, section 3, figure 2. Images are padded at the right and lower edge with copies of the
    edge to sides that are multiples of 32, and the logits are cropped again.

    Args:
        classes: defect classes, background not counted.
        channels: channels of the image.
        width: share of the paper's channels.
    """

    def __init__(self, classes: int, channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        self.width = width
        self.encoder = SegNetEncoder(channels, width)
        self.segmentation = SegNetDecoder(1 + classes, width)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The parts that a training stage may name."""
        return {"encoder": self.encoder, "segmentation": self.segmentation}

    def initialise(self) -> None:
        """Start without pretrained weights, as in the paper, section 4.1: N(0, 2 / inputs of a unit)."""
        initialise_he(self)

    def pretrained_encoder(self) -> dict[str, Tensor]:
        """Return ImageNet weights of the encoder for 3-channel images, fetched or found in the cache by torchvision.

        Raises:
            InputError: the encoder is narrower than the one with weights.
        """
        if self.width != 1:
            raise InputError(f"model.weights: there are ImageNet weights for 'width: 1' only, not {self.width:g}")
        from torchvision.models import vgg16_bn

        state = vgg16_bn(weights="IMAGENET1K_V1").state_dict()
        return {key: value for key, value in state.items() if key.startswith("features.")}

    def forward(self, images: Tensor) -> Output:
        height, width = images.shape[2:]
        logits = self.segmentation(*self.encoder(pad_to_multiple(images, STRIDE, self.training)))
        return Output(mask_logits=crop_to_stride(logits, height, width, 1))
