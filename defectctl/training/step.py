"""One update of the weights: the full effective batch, cut into micro-batches where memory asks for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

from defectctl.errors import RunError
from defectctl.inference.device import autocast
from defectctl.inference.runner import out_of_memory
from defectctl.loading.batch import Batch
from defectctl.messages import warn
from defectctl.models.output import Output
from defectctl.training.losses import Criterion
from defectctl.training.stages import mix

MAX_SKIPS = 3
"""Updates in a row without finite numbers before the precision is raised to float32, or training is given up."""

NO_GRADIENT = "the losses of this stage all have weight 0 here, or do not reach the parts of the model that it trains"

Notify = Callable[[str], None]


@dataclass(slots=True)
class StepResult:
    """What one update did.

    Attributes:
        loss: the weighted sum.
        terms: the unweighted losses by name.
        skipped: whether the weights were left alone because numbers were not finite.
        gradient_norm: norm of the whole gradient before clipping.
    """

    loss: float
    terms: dict[str, float] = field(default_factory=dict)
    skipped: bool = False
    gradient_norm: float = math.nan


class Stepper:
    """Makes updates; keeps the micro-batch size, the precision and the gradient scaler from one to the next.

    Args:
        model: the network, in its training mode.
        criterion: the losses.
        device: where model and batches lie.
        precision: `float32`, `bf16` or `fp16`.
        micro_batch: images at once, or None for the whole batch.
        clip_norm: largest gradient norm, or None.
        seed: of dropout.
        notify: receives one-sentence notes for the user.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        device: torch.device,
        precision: str,
        micro_batch: int | None = None,
        clip_norm: float | None = None,
        seed: int = 0,
        notify: Notify = warn,
    ) -> None:
        self.model, self.criterion, self.device, self.seed = model, criterion, device, seed
        self.precision, self.micro_batch, self.clip_norm = precision, micro_batch, clip_norm
        self._asked = [precision, micro_batch]
        self.skips_in_row = 0
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self._notify = notify
        self._fitted: set[tuple[int, ...]] = set()

    def update(
        self, batch: Batch, weights: Mapping[str, float], optimiser: torch.optim.Optimizer, number: int
    ) -> StepResult:
        """Make one update with the batch's gradient.

        Args:
            weights: of the losses, by name.
            number: of the update in the whole run; with the seed it fixes everything random in the network.

        Raises:
            RunError: not even one image fits into memory, or the loss is not finite in float32 either.
        """
        loss, terms = self._gradient_within_memory(batch, weights, optimiser, number)
        if self.scaler.is_enabled():
            self.scaler.unscale_(optimiser)
        parameters = [p for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        # All numbers in one copy: each wait for a GPU costs time.
        numbers = torch.stack([value.float() for value in (loss, norm, *terms.values())])
        loss_value, norm_value, *term_values = numbers.tolist()
        result = StepResult(loss_value, dict(zip(terms, term_values, strict=True)), gradient_norm=norm_value)
        if math.isfinite(loss_value) and math.isfinite(norm_value):
            if self.clip_norm is not None:
                torch.nn.utils.clip_grads_with_norm_(parameters, self.clip_norm, norm)
            self.scaler.step(optimiser)
            self.skips_in_row = 0
        else:
            result.skipped = True
            self._not_finite(loss_value, number)
        if self.scaler.is_enabled():
            self.scaler.update()
        optimiser.zero_grad(set_to_none=True)
        return result

    def state(self) -> dict[str, object]:
        """As kept in `state.pt`."""
        return {
            "micro_batch": self.micro_batch,
            "precision": self.precision,
            "asked": self._asked,
            "skips_in_row": self.skips_in_row,
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: dict[str, object]) -> None:
        """Inverse of `state`; where precision or micro-batch are asked for anew, as asked now."""
        precision, micro_batch = state["precision"], state["micro_batch"]
        asked = state["asked"]
        if self._asked[0] == asked[0]:
            self.precision = str(precision)
        if self._asked[1] == asked[1]:
            self.micro_batch = micro_batch  # type: ignore[assignment]
        if self.precision != self._asked[0]:
            self._notify(f"numbers were not finite in {self._asked[0]} before: going on in {self.precision}")
        self.skips_in_row = int(state["skips_in_row"])  # type: ignore[call-overload]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        if self.scaler.is_enabled() and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])  # type: ignore[arg-type]

    def _gradient_within_memory(
        self, batch: Batch, weights: Mapping[str, float], optimiser: torch.optim.Optimizer, number: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`gradient`, with ever smaller micro-batches while memory runs out; running statistics stay as they were."""
        while True:
            shape = (self.micro_batch or 0, *batch.images.shape)
            kept = None if shape in self._fitted else [b.clone() for b in self.model.buffers()]
            optimiser.zero_grad(set_to_none=True)
            try:
                result = self.gradient(batch, weights, number)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0] if str(error) else "out of memory"
            else:
                self._fitted.add(shape)
                return result
            # Outside the except block: the traceback held there would keep the failed pass's memory alive.
            optimiser.zero_grad(set_to_none=True)
            with torch.no_grad():
                for buffer, before in zip(self.model.buffers(), kept or [], strict=kept is not None):
                    buffer.copy_(before)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self._halve(len(batch), reason)

    def _halve(self, batch_size: int, reason: str) -> None:
        size = min(self.micro_batch or batch_size, batch_size)
        if size <= 1:
            raise RunError(
                f"not even one image at a time fits into the memory of {self.device} ({reason}); make input.size "
                "smaller, choose a lighter model, or close other programs that use this device"
            )
        self.micro_batch = size // 2
        self._notify(
            f"out of memory with {size} images at once: going on with {self.micro_batch} at once; "
            f"the effective batch stays {batch_size}"
        )

    def gradient(self, batch: Batch, weights: Mapping[str, float], number: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Add the gradient of the whole batch's loss to the parameters; return the loss and its terms.

        In micro-batches: first all of them without gradients, then the loss of the joined output and its gradient
        with respect to that output, then each again with its slice of it. So any loss, also one over the whole batch
        such as Dice, has the gradient of the full batch, at the price of a second forward pass. (Batch norm alone
        still sees the micro-batch, as it must.)
        """
        pieces = self._pieces(batch)
        if len(pieces) == 1:
            output = self._forward(batch, number, 0)
            loss, terms = self.criterion(output, batch, weights)
            if not loss.requires_grad:
                raise RunError(NO_GRADIENT)
            self.scaler.scale(loss).backward()
            return loss.detach(), terms
        before = [b.clone() for b in self.model.buffers()]
        with torch.no_grad():
            outputs = [_tensors(self._forward(piece, number, i)) for i, piece in enumerate(pieces)]
            for buffer, value in zip(self.model.buffers(), before, strict=True):
                buffer.copy_(value)
        joined = {name: torch.cat([o[name] for o in outputs]).requires_grad_() for name in outputs[0]}
        loss, terms = self.criterion(_output(joined), batch, weights)
        if not loss.requires_grad:
            raise RunError(NO_GRADIENT)
        # Backward rather than `autograd.grad`: a model's own losses may have parameters of their own.
        self.scaler.scale(loss).backward()
        used = {name: value.grad for name, value in joined.items() if value.grad is not None}
        start = 0
        for i, piece in enumerate(pieces):
            again = _tensors(self._forward(piece, number, i))
            stop = start + len(piece)
            reached = [name for name in used if again[name].requires_grad]
            if not reached:
                raise RunError(NO_GRADIENT)
            torch.autograd.backward([again[name] for name in reached], [used[name][start:stop] for name in reached])
            start = stop
        return loss.detach(), terms

    def _pieces(self, batch: Batch) -> list[Batch]:
        """The batch in micro-batches whose sizes differ by one at most (no lonely last image for batch norm)."""
        count = -(-len(batch) // (self.micro_batch or len(batch)))
        if count <= 1:
            return [batch]
        edges = [round(i * len(batch) / count) for i in range(count + 1)]
        return [batch.part(a, b) for a, b in pairwise(edges)]

    def _forward(self, piece: Batch, number: int, index: int) -> Output:
        torch.manual_seed(mix(self.seed, number, index))
        try:
            with autocast(self.device, self.precision):
                return self.model(piece.images)
        except ValueError as error:
            if "more than 1 value per channel" in str(error):
                raise RunError(
                    f"this model's batch norm cannot train on {len(piece)} image at a time; "
                    "make train.batch_size or train.micro_batch at least 2"
                ) from error
            raise

    def _not_finite(self, loss: float, number: int) -> None:
        """Count an update without finite numbers; raise the precision or give up after several in a row."""
        if self.scaler.is_enabled() and math.isfinite(loss) and self.scaler.get_scale() > 1:
            return  # The scaler's ordinary search for its scale: the next update uses half of it.
        self.skips_in_row += 1
        self._notify(f"update {number}: the loss or its gradient is not finite in {self.precision}; update left out")
        if self.skips_in_row < MAX_SKIPS:
            return
        if self.precision == "float32":
            raise RunError(
                f"the loss was not finite in {MAX_SKIPS} updates in a row, in float32 too; lower "
                "train.stages.N.optimiser.lr, set train.clip_norm (e.g. 1.0), or lengthen the warm-up"
            )
        self._notify(f"{MAX_SKIPS} updates in a row were not finite in {self.precision}: going on in float32")
        self.precision, self.skips_in_row = "float32", 0
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=False)


def _tensors(output: Output) -> dict[str, Tensor]:
    """The output's tensors by name, batch first in each."""
    named = {"mask_logits": output.mask_logits, "image_logit": output.image_logit}
    named |= {f"detection.{i}": level for i, level in enumerate(output.detections or [])}
    named |= {f"auxiliary.{name}": value for name, value in output.auxiliary.items()}
    return {name: value for name, value in named.items() if value is not None}


def _output(tensors: dict[str, Tensor]) -> Output:
    """Inverse of `_tensors`."""
    levels = [value for name, value in tensors.items() if name.startswith("detection.")]
    auxiliary = {n.partition(".")[2]: value for n, value in tensors.items() if n.startswith("auxiliary.")}
    return Output(tensors.get("mask_logits"), levels or None, tensors.get("image_logit"), auxiliary)
