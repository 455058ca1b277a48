"""Speed of a model: exact counts, right percentiles, plain refusals, and the command itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from defectctl.benchmark import speed
from defectctl.cli.app import main
from defectctl.cli.benchmark import parse_size
from defectctl.config.schema import InputConfig
from defectctl.errors import InputError, RunError
from defectctl.models.output import Output

CPU = torch.device("cpu")


class OneConvolution(nn.Module):
    """A network whose operations can be counted by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images):
        return Output(mask_logits=self.conv(images))


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch):
    monkeypatch.setattr(speed, "WARM_UP_SECONDS", 0.0)


def test_counts_by_hand():
    model = OneConvolution()
    settings = speed.Settings(batch_size=2, repeat=5)
    result = speed.measure_speed(model, InputConfig(size=[32, 64]), CPU, "float32", settings)
    assert result["parameters"] == 3 * 4 * 9 + 4
    assert result["flops"] == 2 * 32 * 64 * 3 * 4 * 9
    latency = result["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    assert latency["runs"] == result["throughput"]["runs"] == 5
    assert result["throughput"]["images_per_second"] > 0
    json.dumps(result, allow_nan=False)


def test_percentiles_equal_numpy():
    times = np.random.default_rng(0).uniform(1, 2, 37).tolist()
    timing = speed.summarise(times)
    assert [timing.p50, timing.p95, timing.p99] == pytest.approx(np.percentile(times, [50, 95, 99]))
    low, high = np.percentile(times, [25, 75])
    assert timing.spread == pytest.approx((high - low) / np.median(times))
    assert speed.summarise([0.5]) == speed.Timing(0.5, 0.5, 0.5, 0.0, 1)


def test_throughput_is_the_batch_over_its_median_time(monkeypatch):
    timings = iter([speed.Timing(0.01, 0.02, 0.03, 0.02, 5), speed.Timing(0.04, 0.05, 0.06, 0.5, 5)])
    monkeypatch.setattr(speed, "time_runs", lambda *_: next(timings))
    settings = speed.Settings(batch_size=2, repeat=5)
    result = speed.measure_speed(OneConvolution(), InputConfig(size=[32, 32]), CPU, "float32", settings)
    assert result["latency_ms"]["p95"] == pytest.approx(20)
    assert result["throughput"]["images_per_second"] == pytest.approx(50)
    assert result["noisy"]


def test_uncountable_operations_break_nothing(monkeypatch, capsys):
    class Broken:
        def __init__(self, display):
            raise NotImplementedError("no formula")

    monkeypatch.setattr("torch.utils.flop_counter.FlopCounterMode", Broken)
    settings = speed.Settings(batch_size=1, repeat=2)
    result = speed.measure_speed(OneConvolution(), InputConfig(size=[32, 32]), CPU, "float32", settings)
    assert result["flops"] is None
    assert "no formula" in capsys.readouterr().err


def test_full_memory_is_said(monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(speed, "time_runs", full)
    with pytest.raises(RunError, match="smaller --batch-size"):
        speed.measure_speed(OneConvolution(), InputConfig(size=[32, 32]), CPU, "float32", speed.Settings())


@pytest.mark.parametrize(("text", "expected"), [("224", (224, 224)), ("512x1408", (512, 1408)), ("64X96", (64, 96))])
def test_sizes(text, expected):
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "x", "12", "1x2x3", "-5", "64x", "99999", "big"])
def test_bad_sizes(text):
    with pytest.raises(InputError, match="--size"):
        parse_size(text)


def test_command_prints_json(capsys):
    code = main(
        ["benchmark", "--preset", "quick", "--size", "64", "--batch-size", "2", "--repeat", "2", "--device", "cpu",
         "--precision", "float32", "--json"]
    )  # fmt: skip
    assert code == 0
    result = json.loads(capsys.readouterr().out)
    assert result["preset"] == "quick"
    assert result["network"] == "deeplabv3plus"
    assert result["parameters"] == 4_379_284
    assert result["size"] == [64, 64]


def test_command_prints_a_table(capsys):
    code = main(
        ["benchmark", "--preset", "sme-deeplab", "--set", "model.backbone=starnet_s050", "--size", "32", "--batch-size",
         "1", "--repeat", "2", "--device", "cpu"]
    )  # fmt: skip
    out = capsys.readouterr().out
    assert code == 0
    assert all(word in out for word in ("parameters", "FLOPs", "latency p99", "images/s", "1 multiply-add = 2 FLOPs"))


@pytest.mark.parametrize(
    ("preset", "override", "asked", "classes"),
    [
        ("yolov5s", "model.width=0.125", [], 3),
        ("yolov5s", "model.width=0.125", ["--classes", "6"], 6),
        ("resnet18", "input.mode=resize", [], 1),
        ("weak-lnet-dnet", "model.width=0.125", [], 1),
        ("segdecnet", "model.width=0.0625", [], 1),
    ],
)
def test_models_of_boxes_and_verdicts_are_measured_too(preset, override, asked, classes, capsys):
    code = main(
        ["benchmark", "--preset", preset, "--set", override, "--size", "32", "--batch-size", "1", "--repeat", "1",
         "--device", "cpu", "--precision", "float32", "--json", "-q", *asked]
    )  # fmt: skip
    result = json.loads(capsys.readouterr().out)
    assert code == 0 and result["classes"] == classes and result["flops"] > 0
    assert result["throughput"]["images_per_second"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--preset", "quick", "--model", "x"], "not both"),
        (["--preset", "weak-lnet-dnet", "--classes", "2", "--device", "cpu"], "one class"),
        (["--preset", "quik"], "quick"),
        (["--preset", "quick", "--set", "model.encodr=resnet18"], "encoder"),
        (["--set", "model.x=1"], "--preset"),
        (["--preset", "quick", "--size", "abc"], "--size"),
        (["--preset", "quick", "--device", "gpu"], "gpu"),
        (["--model", "nowhere.safetensors"], "nowhere.safetensors"),
    ],
)
def test_mistakes_are_one_sentence_and_code_2(arguments, words, capsys):
    assert main(["benchmark", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
