"""What a training must remember to go on after any interruption as if there had been none: `state.pt`."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from defectctl.errors import InputError, RunError
from defectctl.fileio import write_bytes

STATE_FORMAT = 1
STATE_NAME = "state.pt"


@dataclass(slots=True)
class Sums:
    """Running sums of the epoch under way; a loss term counts where it was computed and finite."""

    loss: float = 0.0
    updates: int = 0
    skipped: int = 0
    images: int = 0
    seconds: float = 0.0
    terms: dict[str, list[float]] = field(default_factory=dict)

    def mean_terms(self) -> dict[str, float]:
        """Mean of each loss term."""
        return {name: total / count for name, (total, count) in self.terms.items()}


@dataclass(slots=True)
class Position:
    """Where a training stands.

    Attributes:
        stage: number of the stage under way.
        update: updates done in it.
        ended: whether the stage is over before its budget (early stopping).
        epochs_before: epochs of the stages before this one.
        number: updates done in the whole run.
        epoch_end_due: whether an epoch is through but not yet validated.
        waited: epochs of this stage without improvement.
        best: best value of the selecting metric, None before the first.
        best_epoch: epoch of the run that gave it.
    """

    stage: int = 0
    update: int = 0
    ended: bool = False
    epochs_before: int = 0
    number: int = 0
    epoch_end_due: bool = False
    waited: int = 0
    best: float | None = None
    best_epoch: int | None = None


@dataclass(slots=True)
class Memory:
    """The part of a training's state that is no tensor."""

    position: Position = field(default_factory=Position)
    sums: Sums = field(default_factory=Sums)
    history: list[dict[str, Any]] = field(default_factory=list)
    silent: dict[str, int] = field(default_factory=dict)
    """Per class present in the validation part: validations in a row in which it was never predicted."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `state.pt`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Memory:
        """Inverse of `to_dict`."""
        return cls(
            Position(**values["position"]), Sums(**values["sums"]), list(values["history"]), dict(values["silent"])
        )


def save_state(run: Path, state: dict[str, Any]) -> None:
    """Write `state.pt` atomically: whoever kills the process leaves the old one or the new one.

    Raises:
        RunError: the run folder cannot be written.
    """
    buffer = io.BytesIO()
    torch.save({"format": STATE_FORMAT, **state}, buffer)
    with writing(run):
        write_bytes(run / STATE_NAME, buffer.getvalue())


def load_state(run: Path) -> dict[str, Any]:
    """Read `state.pt` onto the CPU, without unpickling anything but tensors and plain values.

    Raises:
        InputError: there is none, it is broken, or a newer defectctl wrote it.
    """
    path = run / STATE_NAME
    try:
        stored = io.BytesIO(path.read_bytes())
        state = torch.load(stored, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror or error}): this run cannot be resumed") from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        raise InputError(f"'{path}' is damaged, or defectctl did not write it: start the run anew") from error
    if not isinstance(state, dict) or "format" not in state:
        raise InputError(f"'{path}' is not a state that defectctl wrote: start the run anew")
    if state["format"] > STATE_FORMAT:
        raise InputError(f"'{path}' was written by a newer defectctl; update defectctl to resume this run")
    return state


@contextmanager
def writing(run: Path) -> Iterator[None]:
    """Turn a failed write into the run folder (disk full, no permission) into one sentence.

    Raises:
        RunError: the write failed.
    """
    try:
        yield
    except OSError as error:
        saved = (run / STATE_NAME).is_file()
        then = f'go on with: defectctl train --resume "{run}"' if saved else "start anew; nothing was saved yet"
        raise RunError(
            f"the run folder '{run}' cannot be written: {error.strerror or error}; make room or set the permissions, "
            f"then {then}"
        ) from error
