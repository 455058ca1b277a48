"""Padding to the sides that a network's strides divide, by copies of the image's edge."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def pad_to_multiple(images: Tensor, multiple: int, training: bool = False) -> Tensor:
    """Pad `(N, C, H, W)` at the right and lower edge with copies of the edge, to sides that `multiple` divides.

    Args:
        images: a batch of images.
        multiple: largest stride of the network.
        training: a single image of one cell at that stride is then padded to two, because one value per channel has
            no variance and batch norm stops with an error there.
    """
    height, width = images.shape[2:]
    bottom, right = -height % multiple, -width % multiple
    if training and images.shape[0] == 1 and height + bottom == width + right == multiple:
        right += multiple
    return functional.pad(images, (0, right, 0, bottom), mode="replicate")


def crop_to_stride(maps: Tensor, height: int, width: int, stride: int) -> Tensor:
    """Cut a padded image's maps `(N, K, h, w)` to the `ceil(H / stride), ceil(W / stride)` of the image itself."""
    return maps[:, :, : -(-height // stride), : -(-width // stride)]
