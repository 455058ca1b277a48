"""What a preset may hold: the pydantic models behind the YAML, with every default and every check."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from defectctl.config.fields import Augmentation, Count, NotNegative, Positive, Probability, Strict, Weight, problem

MIN_INPUT = 32
"""Smallest height and width of the network's input, in pixels."""


class Paper(Strict):
    """The paper a preset follows."""

    title: str
    doi: str | None = None
    url: str | None = None


class ModelConfig(Strict):
    """The network: a name of the registry, where its weights come from, and its own options as further keys.

    Attributes:
        weights: `none`, `imagenet`, or the path of a weights file.
    """

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    name: str
    weights: str = "none"

    @property
    def options(self) -> dict[str, Any]:
        """The model's own options; the model registry checks their names and values."""
        return dict(self.model_extra or {})


def _size(value: Any) -> Any:
    whole = isinstance(value, list | tuple) and all(isinstance(v, int) and not isinstance(v, bool) for v in value)
    if not whole or len(value) != 2 or min(value) < MIN_INPUT:
        raise problem(f"must be [height, width] in whole pixels of at least {MIN_INPUT}, not {value!r}")
    return tuple(value)


class InputConfig(Strict):
    """How an image becomes the network's input.

    Attributes:
        size: (height, width) in pixels.
        mode: `resize` keeps the aspect ratio and pads; `stretch` fills the input; `tile` keeps the image's own
            resolution: training takes crops of this size, prediction overlapping tiles.
        overlap: share of a tile's side that the next one covers again; only with `tile`.
        normalise: `zero-one` divides by the full range; `imagenet` also takes off ImageNet's mean and divides by
            its standard deviation.
    """

    size: Annotated[tuple[int, int], BeforeValidator(_size)]
    mode: Literal["resize", "stretch", "tile"] = "resize"
    overlap: Annotated[float, Field(ge=0, le=0.75)] = 0.25
    colour: Literal["rgb", "grey"] = "rgb"
    normalise: Literal["zero-one", "imagenet"] = "zero-one"

    @model_validator(mode="after")
    def _overlap_of_tiles(self) -> InputConfig:
        if self.mode != "tile" and "overlap" in self.model_fields_set and self.overlap != 0.25:
            raise problem(f"has an overlap, which mode '{self.mode}' does not use (only 'tile' does)")
        return self


class _Chosen(Strict):
    """A choice by `name` whose other keys depend on it: a key that would do nothing is refused and never written."""

    @classmethod
    def keys_of(cls, name: str) -> frozenset[str]:
        """The keys that mean something for `name`."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _only_keys_that_do_something(self) -> _Chosen:
        name = self.name  # type: ignore[attr-defined]
        idle = sorted(self.model_fields_set - self.keys_of(name) - {"name"})
        if idle:
            takes = ", ".join(sorted(self.keys_of(name))) or "no further keys"
            keys = ", ".join(idle)
            raise problem(f"has {keys}, which '{name}' does not use (it takes {takes}); give the whole block anew")
        return self

    @model_serializer(mode="wrap")
    def _write(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        keys = self.keys_of(self.name) | {"name"}  # type: ignore[attr-defined]
        return {key: value for key, value in handler(self).items() if key in keys}


class OptimiserConfig(_Chosen):
    """The optimiser of a stage. `lr` is the rate for the preset's own batch size; nothing scales it."""

    name: Literal["sgd", "adam", "adamw"]
    lr: Positive
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: NotNegative = 0.0
    betas: Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)] = Field(
        default_factory=lambda: [0.9, 0.999]
    )

    @classmethod
    def keys_of(cls, name: str) -> frozenset[str]:
        """Momentum for SGD, betas for the Adam family."""
        own = {"momentum", "nesterov"} if name == "sgd" else {"betas"}
        return frozenset({"lr", "weight_decay"} | own)


class ScheduleConfig(_Chosen):
    """How the learning rate runs over a stage, per epoch.

    Attributes:
        warmup_epochs, warmup_start: quadratic rise from `warmup_start` times the rate, before the schedule proper.
        floor: lowest rate of `cosine` as a share of the rate.
        flat_epochs: last epochs of `cosine`, held at the floor; warm-up and flat end each take at most a third of
            the stage.
        factor: what `plateau` and `step` multiply the rate by.
        patience: validations without improvement that `plateau` waits.
        min_lr: lowest rate of `plateau`.
        milestones: epochs at which `step` acts.
    """

    name: Literal["constant", "cosine", "plateau", "step", "one-cycle"] = "constant"
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    warmup_start: Probability = 0.1
    floor: Probability = 0.01
    flat_epochs: Annotated[int, Field(ge=0)] = 0
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    patience: Count = 5
    min_lr: NotNegative = 1e-6
    milestones: list[Count] = Field(default_factory=list)

    @classmethod
    def keys_of(cls, name: str) -> frozenset[str]:
        """The keys of each schedule; `one-cycle` brings its own warm-up and takes none."""
        own = {
            "constant": set(),
            "cosine": {"floor", "flat_epochs"},
            "plateau": {"factor", "patience", "min_lr"},
            "step": {"factor", "milestones"},
            "one-cycle": set(),
        }[name]
        return frozenset(own if name == "one-cycle" else own | {"warmup_epochs", "warmup_start"})

    @model_validator(mode="after")
    def _steps_are_named(self) -> ScheduleConfig:
        if self.name == "step" and self.milestones != sorted(set(self.milestones)):
            raise problem(f"has milestones out of order: {self.milestones}")
        if self.name == "step" and not self.milestones:
            raise problem("needs milestones (a list of epochs) for 'step'")
        return self


def _one_budget(stage: Any) -> None:
    if (stage.epochs is None) == (stage.updates is None):
        raise problem("needs exactly one of epochs and updates")


class TurnConfig(Strict):
    """One turn of a stage that alternates: which parts train, with which losses, for how long at a time."""

    train: Annotated[list[str], Field(min_length=1)]
    losses: Annotated[dict[str, Weight], Field(min_length=1)]
    epochs: Count | None = None
    updates: Count | None = None

    @model_validator(mode="after")
    def _check(self) -> TurnConfig:
        _one_budget(self)
        return self


class StageConfig(Strict):
    """A stretch of training with one optimiser, one sampler and a budget in epochs or in updates.

    Attributes:
        losses: weight of each loss by name; with `turns` they stand there instead.
        train: parts of the model that train; None trains all. The rest gets no gradient and keeps its batch norm in
            evaluation mode.
        turns: turns that alternate until the budget is spent.
        start_from: weights of the stage before: its `last` or its `best`.
        keep_best: whether a checkpoint of this stage may become the model. False for a stage that leaves untrained
            what `select` judges, where a lucky number would win.
    """

    name: str = "all"
    epochs: Count | None = None
    updates: Count | None = None
    losses: dict[str, Weight] = Field(default_factory=dict)
    optimiser: OptimiserConfig
    schedule: ScheduleConfig = ScheduleConfig()
    sampler: Literal["shuffle", "balanced", "pairs", "alternate"] = "shuffle"
    train: Annotated[list[str], Field(min_length=1)] | None = None
    turns: Annotated[list[TurnConfig], Field(min_length=1)] | None = None
    start_from: Literal["last", "best"] = "last"
    keep_best: bool = True

    @model_validator(mode="after")
    def _check(self) -> StageConfig:
        _one_budget(self)
        if self.turns is None and not self.losses:
            raise problem("needs losses, e.g. {ce: 1, dice: 1}")
        if self.turns is not None and (self.losses or self.train):
            raise problem("has turns, so losses and train belong into the turns")
        return self


class CropConfig(Strict):
    """Where the crops of `input.mode: tile` are taken.

    Attributes:
        defect_share: share of the crops of an image with a defect that are laid around one of its defects; the
            others fall anywhere.
    """

    defect_share: Probability = 0.5


def _reference(value: Any) -> Any:
    if value == "auto" or (_is_number(value) and 0 < value <= 1):
        return value if value == "auto" else float(value)
    raise problem(f"must be a share of the network's input, more than 0 and at most 1, or auto, not {value!r}")


def _class_weights(value: Any) -> Any:
    if value is None or value == "auto":
        return value
    if isinstance(value, list | tuple) and len(value) >= 2 and all(_is_number(v) and v >= 0 for v in value):
        return [float(v) for v in value]
    raise problem(f"must be auto or a list of weights of 0 or more, background first, not {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class DynamicThreshold(Strict):
    """Weighs defect pixels by the size of a batch's defects (SME-DeepLabV3+, "dynamic threshold adjustment").

    Attributes:
        reference: geometric mean of the training part's defect areas as shares of the network's input; `auto`
            measures it.
    """

    reference: Annotated[float | Literal["auto"], BeforeValidator(_reference)] = "auto"


class TrainConfig(Strict):
    """How a model is trained.

    Attributes:
        batch_size: images that make one update.
        micro_batch: images that go through the network at once; None: the whole batch. The gradient is the same.
        ema: decay of the moving average of the weights, or None.
        clip_norm: largest gradient norm, or None.
        patience: epochs without improvement after which a stage ends, or None.
        validate_every: epochs between validations.
        save_minutes: minutes between saved states, which `--resume` goes on from.
        select: metric on the validation part that chooses the best checkpoint.
        loss_options: settings of single losses by name, e.g. `{focal: {alpha: 0.5, gamma: 2}}`.
        class_weights: weight of background and of each class, background first; `auto` takes them from the training
            masks, rare classes high; None weighs all alike.
        crops: where crops are taken, with `input.mode: tile`.
        dynamic_threshold: weighs defect pixels batch by batch, or None.
        limit_defective: groups (single images where there are none) with a defective part that training may see;
            the defective images of other groups are left out. None: all.
    """

    batch_size: Count
    micro_batch: Count | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    clip_norm: Positive | None = None
    patience: Count | None = None
    validate_every: Count = 1
    save_minutes: NotNegative = 5.0
    stages: Annotated[list[StageConfig], Field(min_length=1)]
    select: Annotated[str, Field(pattern=r"^val/\w+$")] = "val/defect_iou"
    loss_options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    class_weights: Annotated[list[float] | Literal["auto"] | None, BeforeValidator(_class_weights)] = None
    crops: CropConfig = CropConfig()
    dynamic_threshold: DynamicThreshold | None = None
    limit_defective: Count | None = None

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if not self.stages[-1].keep_best:
            raise problem("has a last stage with keep_best: false; the last stage must be able to give the model")
        names = [stage.name for stage in self.stages]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise problem(f"has two stages named '{twice[0]}'; give each its own name")
        if self.micro_batch is not None and self.micro_batch > self.batch_size:
            raise problem(f"has micro_batch {self.micro_batch} above batch_size {self.batch_size}")
        return self


def _min_area(value: Any) -> Any:
    if value != "auto" and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise problem(f"must be a number of pixels (0 or more) or auto, not {value!r}")
    return value


class PredictConfig(Strict):
    """What happens to the network's output.

    Attributes:
        min_area: smallest defect in image pixels that is reported; `auto` derives it from the training labels.
        batch_size: images at once; None lets the device decide.
        activation: `softmax` over background and classes, or `sigmoid` of each, where a network is trained so.
        box_score: score from which a detected box is reported; metrics count all.
        box_iou: overlap above which the lower-scored of two boxes of a class is dropped.
    """

    min_area: Annotated[int | Literal["auto"], BeforeValidator(_min_area)] = "auto"
    batch_size: Count | None = None
    activation: Literal["softmax", "sigmoid"] = "softmax"
    box_score: Probability = 0.25
    box_iou: Probability = 0.6


class Preset(Strict):
    """A whole method: model, input, augmentation, training and post-processing."""

    name: str
    description: str = ""
    paper: Paper | None = None
    model: ModelConfig
    input: InputConfig
    augment: list[Augmentation] = Field(default_factory=list)
    train: TrainConfig
    predict: PredictConfig = PredictConfig()

    @model_validator(mode="after")
    def _crops_are_taken(self) -> Preset:
        if self.input.mode != "tile" and self.train.crops != CropConfig():
            raise problem(f"has train.crops, which input.mode '{self.input.mode}' does not take (only 'tile' does)")
        return self
