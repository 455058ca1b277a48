"""A training that is killed or stopped anywhere goes on to the same weights, bit for bit, and the same history."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_toys import ToyBatches, ToyNet, toy_preset, toy_trainer, toy_validate

from defectctl.errors import InputError, Interrupted, RunError
from defectctl.training.state import load_state, save_state
from defectctl.training.validation import Validation

STAGES = [
    {"name": "first", "epochs": 2, "schedule": {"name": "plateau", "patience": 1}},
    {
        "name": "second",
        "epochs": None,
        "updates": 6,
        "start_from": "best",
        "losses": {},
        "optimiser": {"name": "adamw", "lr": 0.01, "weight_decay": 0.1},
        "turns": [
            {"train": ["segmentation"], "losses": {"ce": 1}, "updates": 2},
            {"train": ["encoder", "segmentation"], "losses": {"dice": {"linear": [1, 0.2]}}, "updates": 1},
        ],
    },
]
SETTINGS = {"ema": 0.9, "clip_norm": 1.0, "save_minutes": 0.0, "micro_batch": 3}
TIMES = {"images_per_s", "seconds"}


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the loop may catch it."""


def final(run: Path) -> tuple[dict, list[dict]]:
    from safetensors.torch import load_file

    state = load_state(run)
    with open(run / "history.csv", encoding="utf-8", newline="") as handle:
        rows = [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(handle)]
    tensors = {f"model.{k}": v for k, v in state["model"].items()}
    tensors |= {f"ema.{k}": v for k, v in state["ema"]["shadow"].items()}
    tensors |= {f"best.{k}": v for k, v in load_file(str(run / "model.safetensors")).items()}
    return tensors, rows


def assert_same(one: Path, other: Path) -> None:
    (tensors, rows), (tensors2, rows2) = final(one), final(other)
    assert tensors.keys() == tensors2.keys()
    for name in tensors:
        assert torch.equal(tensors[name], tensors2[name]), name
    assert rows == rows2 and len(rows) == 4


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    toy_trainer(run, toy_preset(STAGES, **SETTINGS)).run()
    return run


@pytest.mark.parametrize(("kills", "save_minutes"), [((1, 5, 9), 0.0), ((3, 8, 13), 0.0), ((6, 11), 1e9)])
def test_killed_between_updates(tmp_path, unbroken, kills, save_minutes):
    preset = toy_preset(STAGES, **SETTINGS | {"save_minutes": save_minutes})
    left = list(kills)
    calls = 0

    def kill(_):
        nonlocal calls
        calls += 1
        if left and calls > left[0]:
            left.pop(0)
            raise Killed

    run = tmp_path / "run"
    for attempt in range(len(kills) + 1):
        trainer = toy_trainer(run, preset, ToyBatches(before=kill))
        if attempt:
            trainer.resume()
        if attempt < len(kills):
            with pytest.raises(Killed):
                trainer.run()
        else:
            trainer.run()
    assert_same(run, unbroken)


@pytest.mark.parametrize("when", [1, 2, 3, 4])
def test_killed_or_stopped_in_a_validation(tmp_path, unbroken, when):
    preset = toy_preset(STAGES, **SETTINGS)
    run, calls = tmp_path / "run", 0

    def interrupted(model, precision, progress):
        nonlocal calls
        calls += 1
        if calls == when:
            if when % 2:
                raise Killed
            trainer.stop.requested = True
        return toy_validate(model, precision, progress)

    trainer = toy_trainer(run, preset, validate=interrupted)
    with pytest.raises((Killed, Interrupted)):
        trainer.run()
    again = toy_trainer(run, preset)
    again.resume()
    again.run()
    assert_same(run, unbroken)


@pytest.mark.parametrize("at", [0, 3, 4, 8, 10])
def test_stopped_by_the_user(tmp_path, unbroken, at):
    """Ctrl-C is asked for in the batch after `at` updates: that update is finished, the state saved."""
    preset = toy_preset(STAGES, **SETTINGS | {"save_minutes": 1e9})
    run, calls = tmp_path / "run", 0

    def stop(_):
        nonlocal calls
        calls += 1
        trainer.stop.requested = calls == at + 1

    trainer = toy_trainer(run, preset, ToyBatches(before=stop))
    with pytest.raises(Interrupted, match=r"train --resume"):
        trainer.run()
    assert load_state(run)["memory"]["position"]["number"] == at + 1
    again = toy_trainer(run, preset)
    again.resume()
    again.run()
    assert_same(run, unbroken)


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from training_toys import ToyBatches, toy_preset, toy_trainer
from test_resume import SETTINGS, STAGES

def tell(number):
    print(number, flush=True)

trainer = toy_trainer(Path(sys.argv[2]), toy_preset(STAGES, **SETTINGS), ToyBatches(before=tell))
from defectctl.errors import Interrupted
try:
    with trainer.stop:
        trainer.run()
except Interrupted:
    sys.exit(130)
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_signals_of_the_system(tmp_path, unbroken, number, code):
    run, here = tmp_path / "run", str(Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, here, str(run)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    for _ in range(6):
        assert process.stdout.readline()
    process.send_signal(number)
    process.stdout.read()
    assert process.wait(timeout=60) == code
    again = toy_trainer(run, toy_preset(STAGES, **SETTINGS))
    again.resume()
    again.run()
    assert_same(run, unbroken)


def test_a_finished_run_goes_on_when_its_budget_is_raised(tmp_path):
    constant = {"schedule": {"name": "constant"}}
    toy_trainer(tmp_path / "long", toy_preset([constant | {"epochs": 3}])).run()
    toy_trainer(tmp_path / "short", toy_preset([constant | {"epochs": 1}])).run()
    again = toy_trainer(tmp_path / "short", toy_preset([constant | {"epochs": 3}]))
    again.resume()
    again.run()
    a, b = load_state(tmp_path / "long")["model"], load_state(tmp_path / "short")["model"]
    assert all(torch.equal(a[k], b[k]) for k in a)


def resumed(run: Path, **changes):
    """A finished run of one epoch, taken up with a changed preset."""
    stage = {key: changes.pop(key) for key in ("optimiser", "train") if key in changes}
    toy_trainer(run, toy_preset([{"epochs": 1}], patience=3)).run()
    again = toy_trainer(run, toy_preset([{"epochs": 2} | stage], **changes))
    again.resume()
    return again


def test_settings_that_are_changed_for_the_rest_of_a_run_take_effect(tmp_path):
    sgd = {"name": "sgd", "lr": 0.1, "momentum": 0.5, "weight_decay": 0.25}
    again = resumed(tmp_path / "run", optimiser=sgd, micro_batch=2)
    group = again.optimiser.param_groups[0]
    assert (group["momentum"], group["weight_decay"], again.stepper.micro_batch) == (0.5, 0.25, 2)
    assert again.optimiser.state, "the momentum so far is kept"


def test_an_average_asked_for_later_starts_from_the_weights_so_far(tmp_path):
    again = resumed(tmp_path / "run", ema=0.99)
    weights = again.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in again.ema.shadow.items())


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"optimiser": {"name": "adamw", "lr": 0.1}}, "cannot change its kind"), ({"train": ["encoder"]}, "the parts")],
)
def test_what_the_stored_state_does_not_fit_is_one_sentence(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        resumed(tmp_path / "run", **changes)


def test_patience_that_is_raised_lets_an_ended_stage_go_on(tmp_path):
    def worse(model, precision, progress):
        return Validation({"val/defect_iou": 0.5})

    run = tmp_path / "run"
    assert len(toy_trainer(run, toy_preset([{"epochs": 9}], patience=1), validate=worse).run().history) == 2
    again = toy_trainer(run, toy_preset([{"epochs": 9}], patience=3), validate=worse)
    again.resume()
    assert len(again.run().history) == 4


def test_a_damaged_state_is_refused(tmp_path):
    trainer = toy_trainer(tmp_path / "run", toy_preset())
    with pytest.raises(InputError, match="cannot be resumed"):
        trainer.resume()
    (tmp_path / "run" / "state.pt").write_bytes(b"not a state")
    with pytest.raises(InputError, match="damaged"):
        trainer.resume()
    torch.save({"format": 99}, tmp_path / "run" / "state.pt")
    with pytest.raises(InputError, match="newer defectctl"):
        trainer.resume()


def test_a_state_that_could_run_code_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    torch.save({"format": 1, "model": ToyNet()}, tmp_path / "run" / "state.pt")
    with pytest.raises(InputError, match="damaged, or defectctl did not write it"):
        load_state(tmp_path / "run")


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("defectctl.training.state.write_bytes", full)
    with pytest.raises(RunError, match=r"No space left on device; make room .* start anew"):
        save_state(tmp_path, {})
    (tmp_path / "state.pt").write_bytes(b"an earlier state")
    with pytest.raises(RunError, match=r"No space left on device; make room .* --resume"):
        save_state(tmp_path, {})
