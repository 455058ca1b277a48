"""`defectctl train --list`: every model and preset, within a screen of 100 columns, and one preset's options."""

from __future__ import annotations

import json
import re

import pytest

from defectctl.cli.app import main
from defectctl.config.presets import preset_names
from defectctl.models.catalogue import REGISTRY


def lines_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["train", "--list", *arguments]) == 0
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_every_model_and_every_preset_has_its_line(capsys):
    first = [line.split()[0] for line in lines_of(capsys) if line.strip()]
    assert set(REGISTRY) | set(preset_names()) <= set(first)


def test_a_screen_of_100_columns_is_enough(capsys, monkeypatch):
    monkeypatch.setattr("defectctl.cli.tables.WIDE", 100)
    text = "\n".join(lines_of(capsys))
    assert max(map(len, text.splitlines())) <= 100
    # Names stay whole; only papers and descriptions are folded.
    assert all(re.search(rf"^ *{re.escape(name)} ", text, re.M) for name in (*REGISTRY, *preset_names()))


def test_what_a_model_delivers_is_said_in_the_words_of_the_user(capsys):
    lines = lines_of(capsys)
    for start, words in (("segdecnet", "masks, verdict"), ("faster-rcnn", "boxes"), ("multitask", "masks, boxes")):
        row = next(line for line in lines if line.split()[:1] == [start])
        assert row.split(start, 1)[1].strip().startswith(words)


def test_one_preset_shows_its_own_values_as_set_takes_them(capsys):
    lines = lines_of(capsys, "--preset", "multitask")
    [row] = [line for line in lines if "model.deep_supervision" in line]
    assert row.split() == ["model.deep_supervision", "true", "false,", "true"]
    [row] = [line for line in lines if "model.blocks" in line]
    assert row.split()[:2] == ["model.blocks", "4"]
    assert any("256x256" in line for line in lines)
    # A preset that differs from its model's default shows what it has itself.
    [row] = [line for line in lines_of(capsys, "--preset", "res-unet") if "model.encoder" in line]
    assert row.split()[1] == "resnet34"


def test_a_stage_of_turns_shows_their_losses(capsys):
    text = " ".join(lines_of(capsys, "--preset", "multitask-rotation"))
    assert "turns (250 epochs: " in text and "objectness" in text


def test_a_model_without_options_shows_none(capsys):
    assert not any("options of the model" in line for line in lines_of(capsys, "--preset", "resnet18"))


def test_json_has_options_and_input(capsys):
    assert main(["train", "--list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    models = {model["name"]: model for model in document["models"]}
    assert models["unet-cbam"]["options"]["cbam"] == ["none", "encoder", "decoder", "both"]
    presets = {preset["name"]: preset for preset in document["presets"]}
    assert presets["segdecnet"]["input"] == [1408, 512] and set(presets) == set(preset_names())
    assert main(["train", "--list", "--preset", "segdecnet", "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert one["model"] == models["segdecnet"] and one["preset"] == presets["segdecnet"]


def test_an_unknown_preset_is_one_sentence(capsys):
    assert main(["train", "--list", "--preset", "segdecnt"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "did you mean 'segdecnet'?" in captured.err
