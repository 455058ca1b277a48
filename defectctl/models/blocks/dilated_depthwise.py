"""Keeps a processor's wrong gradients of dilated depthwise convolutions out of every network."""

from __future__ import annotations

from types import MethodType

import torch
from torch import Tensor, nn


def guard_dilated_depthwise(network: nn.Module) -> nn.Module:
    """Let dilated depthwise convolutions train on the CPU in bf16 with channels in front; return the network.

    With channels last, oneDNN's bf16 kernel gives such a convolution's weights a wrong gradient on larger maps (48x48
    and more; seen with torch 2.15): off by more than its own size, and at times not finite. Channels in front, and
    float32, are right. Inference, float32 and CUDA are left alone, and the modules stay plain `nn.Conv2d`.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and module.groups > 1 and max(module.dilation) > 1:
            module._conv_forward = MethodType(_channels_in_front, module)  # type: ignore[method-assign]
    return network


def _channels_in_front(self: nn.Conv2d, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    guarded = images.device.type == "cpu" and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")
    if not guarded or not images.is_contiguous(memory_format=torch.channels_last):
        return nn.Conv2d._conv_forward(self, images, weight, bias)
    # A clone, because a weight with one input channel counts as contiguous in either order and keeps its strides.
    weight = weight.clone(memory_format=torch.contiguous_format)
    found = nn.Conv2d._conv_forward(self, images.contiguous(), weight, bias)
    return found.contiguous(memory_format=torch.channels_last)  # what follows is several times slower on mixed orders
