"""A tiny network, generated batches and a validation for the tests of training."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from defectctl.config.presets import check_preset
from defectctl.config.schema import Preset
from defectctl.imaging.geometry import Geometry
from defectctl.loading.batch import Batch
from defectctl.models.output import Output
from defectctl.training.loop import Trainer
from defectctl.training.surroundings import Surroundings
from defectctl.training.validation import Validation


class ToyNet(nn.Module):
    """Two convolutions, optionally with batch norm and dropout between them."""

    def __init__(self, norm: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 6, 3, stride=2, padding=1),
            nn.BatchNorm2d(6) if norm else nn.Identity(),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.head = nn.Conv2d(6, 2, 1)
        self.parts = {"encoder": self.encoder, "segmentation": self.head}

    def forward(self, images):
        return Output(mask_logits=self.head(self.encoder(images)))


def make_toy_batch(count: int, seed: int, size: int = 16) -> Batch:
    """Bright squares on noise: class 1."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, size, size, generator=generator) * 0.5
    masks = torch.zeros(count, size, size, dtype=torch.uint8)
    for i in range(count):
        y, x = torch.randint(0, size - 6, (2,), generator=generator).tolist()
        images[i, :, y : y + 6, x : x + 6] += 0.5
        masks[i, y : y + 6, x : x + 6] = 1
    masks[:, 0, 0] = 255
    known = torch.ones(count, 2, dtype=torch.bool)
    return Batch(
        images,
        masks,
        known,
        torch.ones(count, dtype=torch.int64),
        [torch.zeros(0, 4)] * count,
        [torch.zeros(0, dtype=torch.int64)] * count,
        known,
        [f"{seed}-{i}" for i in range(count)],
        [Geometry.fit(size, size, size, size)] * count,
    )


class ToyBatches:
    """Four batches an epoch, a pure function of (epoch, step); `before` is called before each one."""

    steps = 4

    def __init__(self, count: int = 4, before=None) -> None:
        self.count, self.before = count, before

    def epoch(self, epoch: int, start: int = 0):
        for step in range(start, self.steps):
            if self.before is not None:
                self.before(epoch * self.steps + step)
            yield make_toy_batch(self.count, 1000 * epoch + step)


def toy_preset(stages: list[dict] | None = None, **train) -> Preset:
    """A preset of one stage of three epochs, changed by the arguments."""
    stage = {
        "name": "all",
        "epochs": 3,
        "losses": {"ce": 1, "dice": 1},
        "optimiser": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
        "schedule": {"name": "cosine"},
    }
    values = {
        "name": "toy",
        "model": {"name": "sme-deeplab"},
        "input": {"size": [32, 32]},
        "train": {"batch_size": 4, "stages": [stage | s for s in (stages or [{}])], **train},
    }
    return check_preset(values, "the toy preset")


def toy_validate(model, precision, progress):
    """Defect IoU on eight fixed images."""
    model.eval()
    batch = make_toy_batch(8, 77)
    with torch.no_grad():
        logits = nn.functional.interpolate(model(batch.images).mask_logits, size=batch.masks.shape[1:])
    progress(8)
    found, truth = logits.argmax(1) == 1, batch.masks == 1
    union = (found | truth).sum().item()
    return Validation({"val/defect_iou": (found & truth).sum().item() / union}, [] if found.any() else ["square"])


def toy_trainer(run: Path, preset: Preset, batches=None, validate=toy_validate, net=None, stop=None) -> Trainer:
    """A trainer of a fixed toy network in `run`."""
    from safetensors.torch import save_file

    run.mkdir(exist_ok=True)
    torch.manual_seed(5)
    net = net or ToyNet(norm=True, dropout=0.3)
    batches = batches or ToyBatches()
    around = Surroundings(
        batches={s.sampler: batches for s in preset.train.stages},
        validate=validate,
        save_model=lambda weights, about: save_file(dict(weights), str(run / "model.safetensors")),
        run=run,
        device=torch.device("cpu"),
        precision="float32",
        classes=1,
        images=8,
        quiet=True,
    )
    return Trainer(net, preset, around, stop)
