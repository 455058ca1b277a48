"""Faster R-CNN (Ren et al. 2015, arXiv 1506.01497) on a feature pyramid (arXiv 1612.03144), of torchvision's parts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import ResNet18_Weights, ResNet50_Weights
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead, concat_box_prediction_layers
from torchvision.ops import MultiScaleRoIAlign

from defectctl.models.output import Boxes, Output, Targets

STRIDE = 64
"""Of the coarsest level; sides that are multiples of it make every level's stride exact."""

FINEST_STRIDE = 4

POOLED_LEVELS = ("0", "1", "2", "3")
"""torchvision's names of the levels at strides 4 to 32 that a second stage looks at."""

LEVELS = len(POOLED_LEVELS) + 1
"""With the one at stride 64, which only proposes."""

ANCHOR_SIZES = ((16,), (32,), (64,), (128,), (256,))
"""Side of a square anchor on each level, in pixels: half of torchvision's, which are meant for images of 800 px."""

ASPECT_RATIOS = (0.5, 1.0, 2.0)
"""Height to width of the anchors (Ren et al., section 3.1.1)."""

WEIGHTS = {"resnet50": ResNet50_Weights.IMAGENET1K_V2, "resnet18": ResNet18_Weights.IMAGENET1K_V1}


class FasterRCNN(nn.Module):
    """`forward`: images `(N, C, H, W)` to `Output` with `detections`, all raw.

    The detections are the pyramid's maps at strides 4 to 32 `(N, 256, h, w)`, then per level at strides 4 to 64 the
    objectness logits `(N, 3, h, w)`, then per level the box deltas `(N, 12, h, w)`. Images are padded with zeros at
    their right and lower edge to multiples of 64, as torchvision pads to multiples of 32.

    All of torchvision's defaults hold but for smaller anchors (16, 32, 64, 128 and 256 px, for images of 256 to 512
    px), a score from 0.001 and an overlap up to 0.6 in `decode`, and batch norm that trains (torchvision freezes that
    of pretrained weights).

    Args:
        classes: defect classes, background not counted.
        channels: channels of the image.
        backbone: `resnet50` or `resnet18`.
        roi_samples: proposals per image that train the second stage; torchvision's 512 take most of a step on a CPU.
    """

    def __init__(self, classes: int, channels: int = 3, backbone: str = "resnet50", roi_samples: int = 512) -> None:
        super().__init__()
        self.backbone = backbone
        self.encoder = resnet_fpn_backbone(
            backbone_name=backbone, weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
        )
        if channels != 3:
            first = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
            self.encoder.body["conv1"] = first
        width = self.encoder.out_channels
        second = _second_stage(width, 1 + classes, roi_samples)
        self.detection = nn.ModuleDict({"rpn": _proposals(width), "roi": second})

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The parts that a training stage may name; the feature pyramid belongs to `encoder`."""
        return {"encoder": self.encoder, "detection": self.detection}

    def pretrained_encoder(self) -> dict[str, Tensor]:
        """Return ImageNet weights of the ResNet for 3-channel images, fetched or found in the cache by torchvision."""
        state = WEIGHTS[self.backbone].get_state_dict(progress=False)
        return {f"body.{name}": value for name, value in state.items() if not name.startswith("fc.")}

    def forward(self, images: Tensor) -> Output:
        height, width = images.shape[2:]
        levels = self.encoder(functional.pad(images, (0, -width % STRIDE, 0, -height % STRIDE)))
        objectness, deltas = self.detection["rpn"].head(list(levels.values()))
        return Output(detections=[*(levels[name] for name in POOLED_LEVELS), *objectness, *deltas])

    def decode(self, output: Output) -> list[Boxes]:
        """Run the second stage on the proposals of each image: at most 100 boxes, in network pixels.

        Boxes end at the padded image; torchvision's non-maximum suppression within a class is done.
        """
        features, objectness, deltas = _split(output)
        size = _padded_size(features)
        proposals = self._propose(objectness, deltas, [size] * len(deltas[0]))[0]
        roi = self.detection["roi"]
        logits, boxes = self._classify(features, proposals, size)
        found = roi.postprocess_detections(logits, boxes, proposals, [size] * len(proposals))
        return [Boxes(*one) for one in zip(*found, strict=True)]

    def losses(self, output: Output, targets: Targets) -> dict[str, Tensor]:
        """The four losses of both stages as torchvision computes them (Ren et al., eq. 1; Girshick 2015, eq. 1).

        An image whose boxes are not complete for every class is left out wholly: the samples of background would
        teach that nothing is there. Random samples come from torch's generator.

        Returns:
            `rpn_objectness`, `rpn_box`, `roi_class` and `roi_box`, float32 scalars; all 0 where no image is left.
        """
        known = targets.known_boxes[:, 1:].all(dim=1).nonzero()[:, 0].tolist()
        if not known:
            nothing = sum(tensor.flatten()[:0].float().sum() for tensor in output.detections or [])
            return dict.fromkeys(("rpn_objectness", "rpn_box", "roi_class", "roi_box"), nothing)
        features, objectness, deltas = _split(output, known)
        truth = [_truth(targets.boxes[i], targets.box_labels[i]) for i in known]
        rpn, roi = self.detection["rpn"], self.detection["roi"]
        height, width = targets.images.shape[2:]

        proposals, anchors, logits, boxes = self._propose(objectness, deltas, [(height, width)] * len(known))
        labels, matched = rpn.assign_targets_to_anchors(anchors, truth)
        first = rpn.compute_loss(logits, boxes, labels, rpn.box_coder.encode(matched, anchors))

        proposals, _, labels, goals = roi.select_training_samples(proposals, truth)
        second = fastrcnn_loss(*self._classify(features, proposals, _padded_size(features)), labels, goals)
        return dict(zip(("rpn_objectness", "rpn_box", "roi_class", "roi_box"), (*first, *second), strict=True))

    def _propose(
        self, objectness: list[Tensor], deltas: list[Tensor], sizes: list[tuple[int, int]]
    ) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
        """Proposals and anchors per image, and the first stage's logits `(A, 1)` and deltas `(A, 4)` of all anchors."""
        rpn = self.detection["rpn"]
        height, width = objectness[0].shape[2] * FINEST_STRIDE, objectness[0].shape[3] * FINEST_STRIDE
        # of the images only the shape is asked for
        images = ImageList(torch.empty(len(sizes), 0, height, width, device=objectness[0].device), sizes)
        anchors = rpn.anchor_generator(images, objectness)
        counts = [level[0].numel() for level in objectness]
        logits, boxes = concat_box_prediction_layers(objectness, deltas)
        proposals = rpn.box_coder.decode(boxes.detach(), anchors).view(len(sizes), -1, 4)
        return rpn.filter_proposals(proposals, logits, sizes, counts)[0], anchors, logits, boxes

    def _classify(
        self, features: list[Tensor], proposals: list[Tensor], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Class logits `(P, 1 + classes)` and box deltas `(P, 4 (1 + classes))` of all images' proposals."""
        roi = self.detection["roi"]
        levels = dict(zip(POOLED_LEVELS, features, strict=True))
        pooled = roi.box_roi_pool(levels, proposals, [size] * len(proposals))
        # inference may keep the weights in half precision
        logits, boxes = roi.box_predictor(roi.box_head(pooled.to(roi.box_head.fc6.weight.dtype)))
        return logits.float(), boxes.float()


def _proposals(width: int) -> RegionProposalNetwork:
    """The first stage with torchvision's defaults and our anchors."""
    anchors = AnchorGenerator(ANCHOR_SIZES, (ASPECT_RATIOS,) * LEVELS)
    return RegionProposalNetwork(
        anchors,
        RPNHead(width, len(ASPECT_RATIOS)),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 2000, "testing": 1000},
        post_nms_top_n={"training": 2000, "testing": 1000},
        nms_thresh=0.7,
    )


def _second_stage(width: int, classes: int, samples: int) -> RoIHeads:
    """The second stage with torchvision's defaults; nearly all boxes stay, for a metric or threshold to choose."""
    pool = MultiScaleRoIAlign(list(POOLED_LEVELS), output_size=7, sampling_ratio=2)
    return RoIHeads(
        pool,
        TwoMLPHead(width * 7 * 7, 1024),
        FastRCNNPredictor(1024, classes),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=samples,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=0.001,
        nms_thresh=0.6,
        detections_per_img=100,
    )


def _split(output: Output, chosen: list[int] | None = None) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Pyramid, objectness and deltas by level in float32, of all images or of the chosen ones."""
    tensors = [(tensor if chosen is None else tensor[chosen]).float() for tensor in output.detections or []]
    return tensors[: -2 * LEVELS], tensors[-2 * LEVELS : -LEVELS], tensors[-LEVELS:]


def _padded_size(features: list[Tensor]) -> tuple[int, int]:
    height, width = features[0].shape[2:]
    return height * FINEST_STRIDE, width * FINEST_STRIDE


def _truth(boxes: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """An image's boxes as torchvision takes them; one without area has no finite deltas and is left out."""
    solid = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    return {"boxes": boxes[solid].float(), "labels": labels[solid].long()}
