"""ResNet18 as a judge of whole parts (He et al. 2016, arXiv 1512.03385): defective or good, without saying where."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, resnet18

from defectctl.models.blocks.edge_padding import pad_to_multiple
from defectctl.models.output import Output

STRIDE = 32
FEATURES = 512


class ResNet18(nn.Module):
    """`forward`: images `(N, C, H, W)` to `Output` with `image_logit` `(N,)`, above 0 for "defective".

    torchvision's network up to its mean over the image, then one linear unit.

    Args:
        classes: defect classes; all of them together are "defective".
        channels: channels of the image.
    """

    def __init__(self, classes: int, channels: int = 3) -> None:
        super().__init__()
        self.encoder = resnet18(weights=None)
        self.encoder.fc = nn.Identity()
        if channels != 3:
            self.encoder.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(self.encoder.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.decision = nn.Linear(FEATURES, 1)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The parts that a training stage may name."""
        return {"encoder": self.encoder, "decision": self.decision}

    def pretrained_encoder(self) -> dict[str, Tensor]:
        """Return ImageNet weights of the encoder for 3-channel images, fetched or found in the cache by torchvision."""
        return dict(ResNet18_Weights.IMAGENET1K_V1.get_state_dict(progress=False))

    def forward(self, images: Tensor) -> Output:
        # one cell at stride 32 only: a single image could not train on that
        if self.training and images.shape[0] == 1 and max(images.shape[2:]) <= STRIDE:
            images = pad_to_multiple(images, STRIDE, training=True)
        return Output(image_logit=self.decision(self.encoder(images))[:, 0])
