"""YOLOv5 (v6), and the multi-task network that segments on the same encoder (Sensors 22:9845, 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from defectctl.errors import InputError
from defectctl.models.blocks.edge_padding import crop_to_stride, pad_to_multiple
from defectctl.models.multitask.box_losses import box_losses
from defectctl.models.multitask.decoding import decode
from defectctl.models.multitask.detection import ANCHORS_PER_LEVEL, STRIDES, DetectionDecoder
from defectctl.models.multitask.encoder import STRIDE, Encoder, scaled_depths
from defectctl.models.multitask.segmentation import SegmentationDecoder
from defectctl.models.output import Boxes, Output, Targets

ANCHORS_640 = (10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326)
"""Width and height of YOLOv5's anchors at an input of 640 x 640, three for each of the strides 8, 16 and 32."""


class YoloV5(nn.Module):
    """`forward`: images `(N, C, H, W)` to `Output` with raw detections at strides 8, 16 and 32.

    With the default width and depth it is YOLOv5s, whose parameters it has exactly. H and W of at least 32 may be
    anything: the image is padded with copies of its right and lower edge to multiples of 32.

    Args:
        classes: defect classes, background not counted.
        channels: channels of the image.
        anchors: width and height of nine anchors in network pixels, three for each of the strides 8, 16 and 32, or
            `auto`: those of YOLOv5 for 640 px as they are. A training replaces `auto` by numbers for its input and
            boxes.
        width, depth: multiples of YOLOv5's nominal channels and of its bottlenecks.

    Raises:
        InputError: not nine anchors of a positive width and height.
    """

    def __init__(
        self,
        classes: int,
        channels: int = 3,
        anchors: Sequence[float] | str = "auto",
        width: float = 0.5,
        depth: float = 0.33,
    ) -> None:
        super().__init__()
        numbers = ANCHORS_640 if anchors == "auto" else anchors
        if isinstance(numbers, str) or len(numbers) != len(ANCHORS_640) or min(numbers) <= 0:
            raise InputError(f"model.anchors: must be auto or {len(ANCHORS_640)} numbers above 0, not {anchors!r}")
        self.anchors = tuple(float(number) for number in numbers)
        self.encoder = Encoder(channels, width, depth)
        self.detection = DetectionDecoder(classes, self.encoder.widths, scaled_depths(depth)[-1])

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The parts that a training stage may name: the encoder with its pyramid, and the path down with its heads."""
        return {"encoder": self.encoder, "detection": self.detection}

    def forward(self, images: Tensor) -> Output:
        features = self.encoder(pad_to_multiple(images, STRIDE, self.training))
        return Output(detections=self.detection(features)[2])

    def decode(self, output: Output) -> list[Boxes]:
        """Candidates of each image in network pixels, best first, at most 1000; see `decoding.decode`."""
        levels = output.detections or []
        return decode(levels, self._anchors_on(levels[0].device))

    def losses(self, output: Output, targets: Targets) -> dict[str, Tensor]:
        """The losses `box`, `objectness` and `class`, see `box_losses.box_losses`."""
        levels = output.detections or []
        return box_losses(levels, targets, self._anchors_on(levels[0].device))

    def _anchors_on(self, device: torch.device) -> Tensor:
        # no buffer: casting the network to half precision would round them
        return torch.tensor(self.anchors, device=device).view(len(STRIDES), ANCHORS_PER_LEVEL, 2)


class Multitask(YoloV5):
    """`forward`: images `(N, C, H, W)` to `Output` with mask logits and raw detections.

    Mask logits are `(N, 1 + classes, ceil(H / 4), ceil(W / 4))`; at stride 8 without a decoder. In training,
    `deep_supervision` adds mask logits of 1x1 heads on the detector's maps, `f3`, `n4` and `n5` at strides 8, 16 and
    32, to `Output.auxiliary`; their gradient passes through the detection decoder also where that is not trained.

    Sensors 22:9845 (2022), figures 2 to 5. Readings where the paper is silent: channels, and the place of the deep
    supervision ("in the PAN layers"); see also the blocks.

    Args:
        classes, channels, anchors, width, depth: as of `YoloV5`; the segmentation decoder grows with the width too.
        context, decoder, blocks: of the segmentation decoder, see `SegmentationDecoder`.
        deep_supervision: whether to add the auxiliary heads.
    """

    def __init__(
        self,
        classes: int,
        channels: int = 3,
        anchors: Sequence[float] | str = "auto",
        width: float = 0.5,
        depth: float = 0.33,
        context: str = "ddwaspp",
        decoder: str = "resdwab",
        blocks: int = 4,
        deep_supervision: bool = True,
    ) -> None:
        super().__init__(classes, channels, anchors, width, depth)
        widths = self.encoder.widths
        self.stride = 8 if decoder == "none" else 4
        heads = zip(("f3", "n4", "n5"), widths[2:], strict=True) if deep_supervision else ()
        self.segmentation = nn.ModuleDict(
            {
                "decoder": SegmentationDecoder(1 + classes, widths, context, decoder, blocks, width / 0.5),
                "auxiliary": nn.ModuleDict({name: nn.Conv2d(planes, 1 + classes, 1) for name, planes in heads}),
            }
        )

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The parts that a training stage may name; the auxiliary heads belong to `segmentation`."""
        return {**super().parts, "segmentation": self.segmentation}

    def forward(self, images: Tensor) -> Output:
        height, width = images.shape[2:]
        features = self.encoder(pad_to_multiple(images, STRIDE, self.training))
        n4, n5, detections = self.detection(features)
        logits = self.segmentation["decoder"](features.p2, features.f3)
        auxiliary = {}
        if self.training:
            heads = self.segmentation["auxiliary"]
            for (name, head), maps, stride in zip(heads.items(), (features.f3, n4, n5), STRIDES, strict=False):
                auxiliary[name] = crop_to_stride(head(maps), height, width, stride)
        return Output(crop_to_stride(logits, height, width, self.stride), detections, auxiliary=auxiliary)
