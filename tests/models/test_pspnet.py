"""PSPNet: its size by hand, the stride of its dilated encoder, single images."""

from __future__ import annotations

import torch

from defectctl.models.pspnet import PSPNet

RESNET50 = 25_557_032 - (2048 * 1000 + 1000)
"""torchvision's published count without the classifier."""


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_size_by_hand():
    with torch.device("meta"):
        model = PSPNet(3)
    assert count(model.encoder) == RESNET50
    pools = 4 * 2048 * 512 + 512 + 3 * 2 * 512  # a bias in the global one, batch norm in the others
    joined = 4096 * 512 + 2 * 512
    head = 512 * 4 * 9 + 4
    assert count(model.segmentation) == pools + joined + head


def test_every_level_of_the_encoder_from_the_second_is_at_stride_8():
    model = PSPNet(1, encoder="resnet18").eval()
    with torch.no_grad():
        features = model.encoder(torch.rand(1, 3, 64, 96))
        assert [tuple(f.shape[2:]) for f in features[-3:]] == [(8, 12)] * 3
        assert model(torch.rand(2, 3, 65, 33)).mask_logits.shape == (2, 2, 9, 5)
