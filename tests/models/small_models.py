"""The smallest form of every network, for tests of what does not depend on width."""

from __future__ import annotations

from defectctl.models.catalogue import REGISTRY

SMALL = {
    "sme-deeplab": {"backbone": "starnet_s050", "shallow_attention": "none"},
    "unet-cbam": {"width": 8},
    "unet": {"width": 8},
    "multitask": {"width": 0.25},
    "yolov5s": {"width": 0.25},
    "weak-lnet-dnet": {"width": 0.125},
    "segnet": {"width": 0.125},
    "fcn-8s": {"width": 0.0625},
    "segdecnet": {"width": 0.0625},
    "pspnet": {"encoder": "resnet18"},
    "hrnet": {"backbone": "hrnet_w18_small"},
    "unetplusplus": {"encoder": "resnet18"},
    "upernet": {"encoder": "resnet18"},
    "faster-rcnn": {"backbone": "resnet18"},
}
"""The smallest form of networks that are large by default: what is tested here does not depend on width."""


def classes_of(name: str) -> int:
    """Networks that learn from image labels know one class; the others get three."""
    return 1 if REGISTRY[name].name in ("weak-lnet-dnet", "segdecnet") else 3
