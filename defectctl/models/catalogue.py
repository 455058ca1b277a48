"""The list of networks: name, module, tasks, paper, options; reading it imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from defectctl.models.options import DataNumbers, Number, Option, Text

TASKS = ("segmentation", "detection", "decision")
"""What a network can deliver: a class for every pixel, boxes, and whether the part is defective."""


@dataclass(frozen=True)
class ModelEntry:
    """One network of the registry.

    Attributes:
        name: what a preset calls it.
        target: `module:Class`, imported only when the network is built. The class is called with
            `(classes, channels, **options)`, returns `Output` from `forward(images)` and names its `parts`;
            `initialise()` (a start without weights), `pretrained_encoder()` (ImageNet weights), `decode(output)` (a
            `Boxes` per image) and `losses(output, targets)` (a scalar by name) stand where they are needed.
        tasks: what it delivers, of `TASKS`.
        parts: what a training stage may name; some options leave one out (`decoder: none` has no `segmentation`).
        paper: where the network was published.
        preset: the packaged preset that trains it.
        options: per option what it takes.
        default_options: the value of each option that a preset leaves out.
        fixed_options: what else the class is called with, and no preset can change.
        losses: names of the losses that the network computes itself, all of them on boxes.
        most_classes: how many defect classes it can tell apart; None: any number.
    """

    name: str
    target: str
    tasks: tuple[str, ...]
    paper: str
    preset: str
    parts: tuple[str, ...] = ("encoder", "segmentation")
    options: dict[str, Option] = field(default_factory=dict)
    default_options: dict[str, Any] = field(default_factory=dict)
    fixed_options: dict[str, Any] = field(default_factory=dict)
    losses: tuple[str, ...] = ()
    most_classes: int | None = None


_STARNETS = tuple(f"starnet_{size}" for size in ("s1", "s2", "s3", "s4", "s050", "s100", "s150"))
_SMP_ENCODER = Text(
    r"[a-z][\w.-]*", "the name of a segmentation-models-pytorch encoder (resnet34) or of a timm one (tu-convnext_tiny)"
)
_SWITCH = (False, True)
_YOLO_OPTIONS: dict[str, Option] = {
    "anchors": DataNumbers(18, optional=False, zero=False),
    "width": Number(0.125, 1.5),
    "depth": Number(0.1, 1.5),
}
_YOLO_DEFAULTS: dict[str, Any] = {"anchors": "auto", "width": 0.5, "depth": 0.33}
_YOLO_LOSSES = ("box", "objectness", "class")

_METHODS = (
    ModelEntry(
        name="sme-deeplab",
        target="defectctl.models.sme_deeplab:SmeDeepLab",
        tasks=("segmentation",),
        paper="SME-DeepLabV3+, PLoS ONE 20(8) e0329628, 2025",
        preset="sme-deeplab",
        options={
            "backbone": (*_STARNETS, "mobilenetv2", "xception"),
            "context": ("msaa", "aspp", "aspp+msaa"),
            "shallow_attention": ("ela", "none"),
            "ela": ("dual", "b", "t"),
            "drop_path": Number(0, 0.9),
            "output_stride": (16, 8),
            "branch_shares": DataNumbers(3),
            "ela_shares": DataNumbers(2),
        },
        default_options={
            "backbone": "starnet_s4",
            "context": "msaa",
            "shallow_attention": "ela",
            "ela": "dual",
            "drop_path": 0.0,
            "output_stride": 16,
            "branch_shares": "none",
            "ela_shares": "none",
        },
    ),
    ModelEntry(
        name="unet-cbam",
        target="defectctl.models.unet_cbam:UNetCbam",
        tasks=("segmentation",),
        paper="U-Net + CBAM on SD-saliency-900",
        preset="unet-cbam",
        options={"cbam": ("none", "encoder", "decoder", "both"), "width": (4, 8, 16, 32, 64)},
        default_options={"cbam": "both", "width": 64},
    ),
    ModelEntry(
        name="multitask",
        target="defectctl.models.multitask.network:Multitask",
        tasks=("segmentation", "detection"),
        paper="Multi-task defect segmentation and detection, Sensors 22:9845, 2022",
        preset="multitask",
        parts=("encoder", "detection", "segmentation"),
        options={
            **_YOLO_OPTIONS,
            "context": ("ddwaspp", "dwaspp", "denseaspp", "aspp", "none"),
            "decoder": ("resdwab", "v3plus", "ushape", "none"),
            "blocks": (0, 1, 2, 3, 4, 5),
            "deep_supervision": _SWITCH,
        },
        default_options={
            **_YOLO_DEFAULTS,
            "context": "ddwaspp",
            "decoder": "resdwab",
            "blocks": 4,
            "deep_supervision": True,
        },
        losses=_YOLO_LOSSES,
    ),
    ModelEntry(
        name="unet-encoder",
        target="defectctl.models.unet_encoder:UNetEncoder",
        tasks=("segmentation",),
        paper="U-Net backbones on corrosion",
        preset="unet-mobilenetv2",
        options={"encoder": _SMP_ENCODER},
        default_options={"encoder": "mobilenet_v2"},
    ),
    ModelEntry(
        name="weak-lnet-dnet",
        target="defectctl.models.weak_lnet_dnet:WeakLNetDNet",
        tasks=("segmentation", "decision"),
        paper="LNet/DNet, weakly supervised, IEEE Access, 2020",
        preset="weak-lnet-dnet",
        parts=("shared", "localisation", "decision"),
        options={"decision_kernel": (3, 5), "decision_hidden": _SWITCH, "width": Number(0.125, 1)},
        default_options={"decision_kernel": 3, "decision_hidden": False, "width": 1.0},
        most_classes=1,
    ),
)

_BASELINES = (
    ModelEntry(
        name="unet",
        target="defectctl.models.unet_cbam:UNetCbam",
        tasks=("segmentation",),
        paper="U-Net, MICCAI 2015, arXiv 1505.04597",
        preset="unet",
        options={"width": (4, 8, 16, 32, 64)},
        default_options={"width": 64},
        fixed_options={"cbam": "none"},
    ),
    ModelEntry(
        name="segnet",
        target="defectctl.models.segnet:SegNet",
        tasks=("segmentation",),
        paper="SegNet, TPAMI 2017, arXiv 1511.00561",
        preset="segnet",
        options={"width": Number(0.0625, 1)},
        default_options={"width": 1.0},
    ),
    ModelEntry(
        name="fcn-8s",
        target="defectctl.models.fcn8s:FCN8s",
        tasks=("segmentation",),
        paper="Fully convolutional networks, CVPR 2015, arXiv 1411.4038",
        preset="fcn-8s",
        options={"width": Number(0.0625, 1)},
        default_options={"width": 1.0},
    ),
    ModelEntry(
        name="deeplabv3plus",
        target="defectctl.models.deeplabv3plus:DeepLabV3Plus",
        tasks=("segmentation",),
        paper="DeepLabV3+, ECCV 2018, arXiv 1802.02611",
        preset="deeplabv3plus",
        options={"encoder": _SMP_ENCODER, "output_stride": (16, 8)},
        default_options={"encoder": "mobilenet_v2", "output_stride": 16},
    ),
    ModelEntry(
        name="pspnet",
        target="defectctl.models.pspnet:PSPNet",
        tasks=("segmentation",),
        paper="PSPNet, CVPR 2017, arXiv 1612.01105",
        preset="pspnet",
        options={"encoder": _SMP_ENCODER},
        default_options={"encoder": "resnet50"},
    ),
    ModelEntry(
        name="hrnet",
        target="defectctl.models.hrnet:HRNet",
        tasks=("segmentation",),
        paper="HRNet, TPAMI 2020, arXiv 1908.07919",
        preset="hrnet",
        options={"backbone": ("hrnet_w18_small", "hrnet_w18", "hrnet_w32", "hrnet_w48")},
        default_options={"backbone": "hrnet_w18"},
    ),
    ModelEntry(
        name="unetplusplus",
        target="defectctl.models.unetplusplus:UNetPlusPlus",
        tasks=("segmentation",),
        paper="UNet++, DLMIA 2018, arXiv 1807.10165",
        preset="unetplusplus",
        options={"encoder": _SMP_ENCODER},
        default_options={"encoder": "resnet34"},
    ),
    ModelEntry(
        name="upernet",
        target="defectctl.models.upernet:UPerNet",
        tasks=("segmentation",),
        paper="UPerNet, ECCV 2018, arXiv 1807.10221; ConvNeXt, CVPR 2022, arXiv 2201.03545",
        preset="upernet-convnext",
        options={"encoder": _SMP_ENCODER},
        default_options={"encoder": "tu-convnext_tiny"},
    ),
    ModelEntry(
        name="segformer",
        target="defectctl.models.segformer:SegFormer",
        tasks=("segmentation",),
        paper="SegFormer, NeurIPS 2021, arXiv 2105.15203",
        preset="segformer",
        options={"encoder": tuple(f"mit_b{size}" for size in range(6))},
        default_options={"encoder": "mit_b0"},
    ),
    ModelEntry(
        name="yolov5s",
        target="defectctl.models.multitask.network:YoloV5",
        tasks=("detection",),
        paper="YOLOv5 v6, the detection half of Sensors 22:9845, 2022",
        preset="yolov5s",
        parts=("encoder", "detection"),
        options=dict(_YOLO_OPTIONS),
        default_options=dict(_YOLO_DEFAULTS),
        losses=_YOLO_LOSSES,
    ),
    ModelEntry(
        name="faster-rcnn",
        target="defectctl.models.faster_rcnn:FasterRCNN",
        tasks=("detection",),
        paper="Faster R-CNN, NeurIPS 2015, arXiv 1506.01497; FPN, CVPR 2017, arXiv 1612.03144",
        preset="faster-rcnn",
        parts=("encoder", "detection"),
        options={"backbone": ("resnet50", "resnet18"), "roi_samples": (512, 256, 128, 64)},
        default_options={"backbone": "resnet50", "roi_samples": 512},
        losses=("rpn_objectness", "rpn_box", "roi_class", "roi_box"),
    ),
    ModelEntry(
        name="resnet18",
        target="defectctl.models.resnet18:ResNet18",
        tasks=("decision",),
        paper="Deep residual learning, CVPR 2016, arXiv 1512.03385",
        preset="resnet18",
        parts=("encoder", "decision"),
        options={},
        default_options={},
    ),
    ModelEntry(
        name="segdecnet",
        target="defectctl.models.segdecnet:SegDecNet",
        tasks=("segmentation", "decision"),
        paper="SegDecNet, J. Intelligent Manufacturing 2019 and Computers in Industry 2021",
        preset="segdecnet",
        parts=("segmentation", "decision"),
        options={"stop_gradient": _SWITCH, "width": Number(0.0625, 1)},
        default_options={"stop_gradient": True, "width": 1.0},
    ),
)

REGISTRY: dict[str, ModelEntry] = {entry.name: entry for entry in (*_METHODS, *_BASELINES)}
