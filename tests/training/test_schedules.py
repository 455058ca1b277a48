"""Schedules against worked numbers and torch's own."""

from __future__ import annotations

import math

import pytest
import torch

from defectctl.config.schema import ScheduleConfig
from defectctl.training.schedules import Plateau, Progress, learning_rate, weight_at


def rates(schedule: ScheduleConfig, epochs: int, steps: int = 2, peak: float = 1.0) -> list[float]:
    return [learning_rate(schedule, peak, Progress(u, epochs * steps, steps), Plateau()) for u in range(epochs * steps)]


def test_cosine_with_quadratic_warm_up_and_flat_end():
    found = rates(ScheduleConfig(name="cosine", warmup_epochs=3, warmup_start=0.1, floor=0.01, flat_epochs=2), 10)
    assert found[0::2] == found[1::2], "the rate changes from epoch to epoch only"
    expected = [0.1, 0.1 + 0.9 / 9, 0.1 + 0.9 * 4 / 9]
    expected += [0.01 + 0.5 * 0.99 * (1 + math.cos(math.pi * i / 5)) for i in range(5)] + [0.01, 0.01]
    assert found[0::2] == pytest.approx(expected)


def test_one_cycle_equals_torch():
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=40)
    expected = []
    for _ in range(40):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        reference.step()
    assert rates(ScheduleConfig(name="one-cycle"), 20, peak=2e-3) == pytest.approx(expected, rel=1e-9)


def test_steps_and_constant():
    assert rates(ScheduleConfig(name="step", milestones=[2, 3], factor=0.1), 4)[::2] == pytest.approx([1, 1, 0.1, 0.01])
    assert set(rates(ScheduleConfig(name="constant"), 4)) == {1.0}


def test_plateau_lowers_after_patience_and_stops_at_the_least_rate():
    plateau = Plateau()
    lowered = [plateau.observe(v, 0.5, 1) for v in (0.1, 0.2, 0.2, None, 0.3, 0.2, 0.2)]
    assert lowered == [False, False, False, True, False, False, True] and plateau.scale == 0.25
    schedule = ScheduleConfig(name="plateau", factor=0.5, min_lr=0.4)
    assert learning_rate(schedule, 1.0, Progress(0, 4, 2), plateau) == 0.4
    assert Plateau(**plateau.to_dict()) == plateau


def test_a_stage_in_updates_changes_from_update_to_update():
    progress = [Progress(u, 8, 4, whole_epochs=False) for u in range(8)]
    found = [learning_rate(ScheduleConfig(name="cosine", floor=0), 1.0, p, Plateau()) for p in progress]
    assert found == pytest.approx([0.5 * (1 + math.cos(math.pi * u / 8)) for u in range(8)])


def test_weights():
    wave = {"cosine": {"high": 8.0, "low": 4.0, "every": 4}}
    assert [weight_at(wave, Progress(u, 8, 1)) for u in range(5)] == pytest.approx([8, 6, 4, 6, 8])
    assert [weight_at({"linear": [1, 0]}, Progress(u, 4, 1)) for u in range(4)] == pytest.approx([1, 0.75, 0.5, 0.25])
    assert weight_at(2, Progress(0, 4, 1)) == 2.0


def test_a_weight_may_swing_by_updates_and_hold_its_value():
    """alpha_i = 8 (cos(2 pi i / 25) + 3) / 4 with i a pair of updates: 8, 4.02 at i = 12, 7.94 at i = 24."""
    wave = {"cosine": {"high": 8.0, "low": 4.0, "every": None, "updates": 50, "hold": 2}}
    found = [weight_at(wave, Progress(u, 1500, 34, whole_epochs=False)) for u in range(52)]
    assert found[0::2] == found[1::2]
    assert [found[2 * i] for i in (0, 12, 24, 25)] == pytest.approx([8, 4.016, 7.937, 8], abs=1e-3)
    single = {"cosine": {"high": 1.0, "low": 0.0, "updates": 4}}
    assert [weight_at(single, Progress(u, 8, 2)) for u in range(5)] == pytest.approx([1, 0.5, 0, 0.5, 1])


def test_a_short_trial_of_a_long_schedule_still_falls():
    found = rates(ScheduleConfig(name="cosine", warmup_epochs=3, warmup_start=0.1, floor=0.01, flat_epochs=15), 6)
    assert found[0::2] == pytest.approx([0.1, 0.325, 1.0, 0.505, 0.01, 0.01])  # 2 epochs up, 2 down, 2 flat
