"""Networks whose answers are known: a detector and a judge that look for bright pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defectctl.models.output import Boxes, Output


class BrightBox(nn.Module):
    """Detects the box around all pixels over one half, three times over, and a wrong class with a low score."""

    def forward(self, images: Tensor) -> Output:
        return Output(detections=[images])

    def decode(self, output: Output) -> list[Boxes]:
        assert output.detections is not None and output.detections[0].dtype == torch.float32
        return [self._find(image[0]) for image in output.detections[0]]

    def _find(self, image: Tensor) -> Boxes:
        rows, columns = torch.nonzero(image > 0.5, as_tuple=True)
        if not len(rows):
            return Boxes(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        box = torch.stack(edges).float()
        # a double, one with a number that is none, one below the floor, and another class in the same place
        boxes = torch.stack([box, box + 0.05, box * float("nan"), box, box])
        return Boxes(boxes, torch.tensor([0.9, 0.8, 0.9, 0.0005, 0.1]), torch.tensor([1, 1, 1, 1, 2]))


class BrightJudge(nn.Module):
    """Decides that a part is defective with probability 0.75 where any pixel is over one half, else 0.25."""

    def forward(self, images: Tensor) -> Output:
        sign = (images.amax(dim=(1, 2, 3)) > 0.5).float() * 2 - 1
        return Output(image_logit=sign * torch.log(torch.tensor(3.0)))


class Bright(nn.Module):
    """Class 1 where the grey level is over one half."""

    def forward(self, images: Tensor) -> Output:
        return Output(mask_logits=torch.cat([0.5 - images, images - 0.5], dim=1) * 20)


class Everything(nn.Module):
    """The answers of all three."""

    def __init__(self) -> None:
        super().__init__()
        self.detector, self.judge, self.mask = BrightBox(), BrightJudge(), Bright()

    def forward(self, images: Tensor) -> Output:
        return Output(self.mask(images).mask_logits, self.detector(images).detections, self.judge(images).image_logit)

    def decode(self, output: Output) -> list[Boxes]:
        return self.detector.decode(output)
