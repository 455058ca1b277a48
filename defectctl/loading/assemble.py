"""Rows to a batch on the device: resize, augment and normalise, images, masks and boxes alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from defectctl.config.schema import InputConfig
from defectctl.loading.augment import Augment
from defectctl.loading.batch import Batch
from defectctl.loading.box_truth import clip_boxes
from defectctl.loading.network_input import masks_to_network, normalise, to_unit
from defectctl.loading.rows import Row


def assemble(
    rows: Sequence[Row], config: InputConfig, augment: Augment, device: torch.device, generator: torch.Generator
) -> Batch:
    """Put rows together; uses nothing but its arguments, so that it may run on any thread.

    Args:
        generator: on the CPU; all random draws come from it.
    """
    geometries = [row.geometry for row in rows]
    images, _ = to_unit([row.picture for row in rows], config, device, geometries)
    masks = masks_to_network([row.mask for row in rows], geometries, device)
    boxes = [_network_boxes(row) for row in rows]
    images, masks, boxes = augment(images, masks, boxes, generator)
    known = torch.from_numpy(np.stack([row.known for row in rows]))
    known_boxes = torch.zeros_like(known)
    labels: list[torch.Tensor] = []
    for number, row in enumerate(rows):
        known_boxes[number, list(row.boxes.known)] = True
        clipped, kept = clip_boxes(boxes[number].numpy(), (0, 0, config.size[1], config.size[0]))
        boxes[number] = torch.from_numpy(clipped[kept]).to(device)
        labels.append(torch.from_numpy(row.boxes.labels[kept]).to(device))
    return Batch(
        images=normalise(images, config).contiguous(memory_format=torch.channels_last),
        masks=masks,
        known=known.to(device),
        labels=torch.tensor([row.state for row in rows], device=device),
        boxes=boxes,
        box_labels=labels,
        known_boxes=known_boxes.to(device),
        ids=[row.sample.id for row in rows],
        geometries=geometries,
    )


def _network_boxes(row: Row) -> torch.Tensor:
    """`(M, 4)` float32 on the CPU, in network pixels."""
    boxes = [row.geometry.to_network(tuple(box)) for box in row.boxes.boxes.tolist()]
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
