"""An exponential moving average of a model's weights, kept beside the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Shadow weights `s <- d s + (1 - d) w` after each update, with `d = min(decay, (1 + n) / (10 + n))`.

    The growing decay lets the average leave the random start within its first updates. Batch norm's statistics are
    averaged like the weights, so that both stand for the same stretch of training; counters are copied.

    Args:
        model: the model being trained.
        decay: in 0..1, e.g. 0.999.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.shadow: dict[str, Tensor] = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after an update."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.shadow[name].lerp_(value.to(self.shadow[name].dtype), 1 - decay)
            else:
                self.shadow[name].copy_(value)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Give the model the averaged weights while the block runs."""
        own = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.shadow)
        try:
            yield
        finally:
            model.load_state_dict(own)

    def state(self) -> dict[str, object]:
        """As kept in `state.pt`."""
        return {"updates": self.updates, "shadow": self.shadow}

    def load(self, state: dict[str, object]) -> None:
        """Inverse of `state`."""
        self.updates = int(state["updates"])  # type: ignore[call-overload]
        for name, value in state["shadow"].items():  # type: ignore[attr-defined]
            self.shadow[name].copy_(value)
