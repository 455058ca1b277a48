"""The loop: stages and turns, frozen parts, early stopping, the best checkpoint, records and warnings."""

from __future__ import annotations

import csv

import pytest
import torch
from training_toys import ToyNet, toy_preset, toy_trainer, toy_validate

from defectctl.errors import InputError
from defectctl.training.ema import Ema
from defectctl.training.stages import check_parts, mix, set_trained_parts, task_at, trainable_parameters, turn_at
from defectctl.training.validation import Validation


def history(run):
    with open(run / "history.csv", encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_a_training_learns_and_leaves_its_records(tmp_path):
    run = tmp_path / "run"
    memory = toy_trainer(run, toy_preset([{"epochs": 8}])).run()
    rows = history(run)
    assert [int(r["epoch"]) for r in rows] == list(range(1, 9)) and rows[-1]["updates"] == "32"
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"]) and {"loss/ce", "loss/dice", "lr"} <= rows[0].keys()
    assert memory.position.best == max(float(r["val/defect_iou"]) for r in rows)
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert len((run / "log.txt").read_text(encoding="utf-8").splitlines()) >= 8
    assert not list(run.glob("*.part"))


def scripted(values, seen=None):
    """A validation that returns the values one after the other and notes the weights it was given."""
    left = iter(values)

    def validate(model, precision, progress):
        if seen is not None:
            seen.append({k: v.clone() for k, v in model.state_dict().items()})
        return Validation({"val/defect_iou": next(left)})

    return validate


def test_the_best_checkpoint_is_kept(tmp_path):
    from safetensors.torch import load_file

    seen = []
    trainer = toy_trainer(tmp_path / "run", toy_preset(), validate=scripted([0.1, 0.5, 0.3], seen))
    memory = trainer.run()
    assert (memory.position.best, memory.position.best_epoch) == (0.5, 2)
    stored = load_file(str(tmp_path / "run" / "model.safetensors"))
    assert all(torch.equal(stored[k], seen[1][k]) for k in stored)


def test_patience_ends_the_stage_and_the_next_starts_from_the_best(tmp_path):
    seen = []
    stages = [
        {"name": "a", "epochs": 9},
        {"name": "b", "epochs": 1, "start_from": "best", "optimiser": {"name": "sgd", "lr": 1e-30}},
    ]
    values = scripted([0.2, 0.6, 0.1, 0.1, 0.1], seen)
    memory = toy_trainer(tmp_path / "run", toy_preset(stages, patience=2), validate=values).run()
    assert [(r["epoch"], r["stage"]) for r in memory.history] == [(1, "a"), (2, "a"), (3, "a"), (4, "a"), (5, "b")]
    for name, parameter in ToyNet(norm=True).named_parameters():
        assert parameter is not None and torch.equal(seen[4][name], seen[1][name])


def test_patience_waits_for_the_next_validation(tmp_path):
    values = scripted([0.2, 0.1, 0.1])
    preset = toy_preset([{"epochs": 20}], patience=2, validate_every=3)
    memory = toy_trainer(tmp_path / "run", preset, validate=values).run()
    assert (len(memory.history), memory.position.best, memory.position.best_epoch) == (6, 0.2, 3)


def test_validation_every_second_epoch_and_at_the_end(tmp_path):
    memory = toy_trainer(tmp_path / "run", toy_preset(validate_every=2)).run()
    assert ["val/defect_iou" in row for row in memory.history] == [False, True, True]


def test_an_unknown_metric_value_keeps_the_last_weights_and_says_so(tmp_path, capsys):
    toy_trainer(tmp_path / "run", toy_preset(), validate=scripted([None] * 3)).run()
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert "no validation could tell val/defect_iou" in capsys.readouterr().err


def test_a_class_that_is_never_predicted_is_named(tmp_path, capsys):
    def silent(model, precision, progress):
        return Validation(toy_validate(model, precision, progress).metrics, ["scratch"])

    toy_trainer(tmp_path / "run", toy_preset(), validate=silent).run()
    said = capsys.readouterr().err
    assert "never predicted in the last 3 validations: scratch" in said and "sampler 'balanced'" in said


def test_frozen_parts_do_not_move_at_all(tmp_path):
    torch.manual_seed(1)
    net = ToyNet(norm=True)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    decay = {"name": "sgd", "lr": 0.1, "weight_decay": 0.1}
    toy_trainer(tmp_path / "run", toy_preset([{"train": ["segmentation"], "optimiser": decay}]), net=net).run()
    after = net.state_dict()
    assert all(torch.equal(before[k], after[k]) == k.startswith("encoder") for k in before)


def test_turns_alternate_and_repeat():
    stage = toy_preset(
        [
            {
                "losses": {},
                "turns": [
                    {"train": ["encoder"], "losses": {"ce": 1}, "epochs": 1},
                    {"train": ["segmentation"], "losses": {"dice": 1}, "updates": 2},
                ],
            }
        ]
    ).train.stages[0]
    assert [turn_at(stage.turns, u, 4) for u in range(12)] == [0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1]
    assert task_at(stage, 5, 4) == (("segmentation",), {"dice": 1.0})
    net = ToyNet()
    assert len(trainable_parameters(net, stage)) == len(list(net.parameters()))


def test_trained_parts_and_batch_norm_mode():
    net = ToyNet(norm=True, dropout=0.5)
    set_trained_parts(net, ["segmentation"])
    assert not net.encoder[1].training and net.encoder[3].training and net.head.training
    assert [p.requires_grad for p in net.parameters()] == [False] * 4 + [True] * 2
    set_trained_parts(net, None)
    assert net.encoder[1].training and all(p.requires_grad for p in net.parameters())


def test_an_unknown_part_is_named_with_the_parts_there_are():
    with pytest.raises(InputError, match=r"'decoder'.*encoder, segmentation"):
        check_parts(ToyNet(), toy_preset([{"train": ["decoder"]}]).train.stages)


def test_ema_by_hand():
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(net.weight, 1.0)
    ema = Ema(net, 0.5)
    torch.nn.init.constant_(net.weight, 2.0)
    ema.update(net)  # decay (1 + 1) / (10 + 1)
    torch.testing.assert_close(ema.shadow["weight"].item(), 1 * 2 / 11 + 2 * 9 / 11)
    with ema.applied(net):
        assert net.weight.item() < 2
    assert net.weight.item() == 2


def test_ema_averages_batch_norms_statistics_and_copies_its_counter():
    norm = torch.nn.BatchNorm2d(1)
    ema = Ema(norm, 0.5)
    norm.running_mean.fill_(11.0)  # was 0
    norm.num_batches_tracked.fill_(7)
    ema.update(norm)  # decay 2 / 11
    assert ema.shadow["running_mean"].item() == pytest.approx(9.0)
    assert ema.shadow["num_batches_tracked"].item() == 7


def test_seeds_are_spread_and_fixed():
    assert mix(1, 2) != mix(2, 1) and mix(1, 2) == mix(1, 2) and 0 <= mix(0) < 2**63
    assert len({mix(0, i) for i in range(1000)}) == 1000


def test_a_line_an_epoch_on_stderr(tmp_path, capsys):
    trainer = toy_trainer(tmp_path / "run", toy_preset())
    trainer.report.quiet = False
    trainer.run()
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("epoch")]
    assert len(lines) == 3 and captured.out == ""
    for word in ("loss", "val/defect_iou", "images/s", "left"):
        assert word in lines[0]


def test_a_stage_that_may_not_give_the_model_gives_none(tmp_path):
    """The first stage validates better than the second, but what it leaves untrained is what is judged."""
    values = iter([0.9, 0.9, 0.3, 0.4])
    stages = [{"name": "first", "epochs": 2, "keep_best": False}, {"name": "second", "epochs": 2}]
    trainer = toy_trainer(
        tmp_path / "run",
        toy_preset(stages, patience=1),
        validate=lambda model, precision, progress: Validation({"val/defect_iou": next(values)}),
    )
    memory = trainer.run()
    assert (memory.position.best, memory.position.best_epoch, len(memory.history)) == (0.4, 4, 4)
