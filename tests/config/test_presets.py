"""Presets: the shipped ones, overrides, and messages that tell everything that is wrong at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from defectctl.config.presets import check_preset, load_preset, preset_names, preset_to_dict, preset_to_yaml
from defectctl.errors import InputError

SMALL = """
model: {name: quick-net}
input: {size: [64, 96]}
train:
  batch_size: 4
  stages:
    - {epochs: 2, losses: {ce: 1}, optimiser: {name: adam, lr: 1e-3}}
"""


def message(*arguments: object) -> str:
    with pytest.raises(InputError) as caught:
        load_preset(*arguments)
    return str(caught.value)


@pytest.fixture
def small(tmp_path: Path) -> str:
    path = tmp_path / "kleine Prüfung.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return str(path)


def test_shipped_presets_load_and_survive_a_round_trip(tmp_path: Path) -> None:
    assert {"quick", "sme-deeplab"} <= set(preset_names())
    for name in preset_names():
        preset = load_preset(name)
        assert preset.name == name
        assert preset.description
        assert preset.model.weights == "none", "shipped presets run offline"
        assert check_preset(preset_to_dict(preset), "again") == preset
        file = tmp_path / f"{name}.yaml"
        file.write_text(preset_to_yaml(preset), encoding="utf-8")
        assert load_preset(str(file)) == preset


def test_sme_deeplab_has_the_papers_schedule() -> None:
    preset = load_preset("sme-deeplab")
    (stage,) = preset.train.stages
    assert preset.input.size == (512, 512)
    assert (stage.epochs, stage.losses) == (300, {"focal": 1.0, "dice": 1.0})
    optimiser, schedule = stage.optimiser, stage.schedule
    assert (optimiser.name, optimiser.lr, optimiser.momentum, optimiser.nesterov) == ("sgd", 7e-3, 0.9, True)
    assert optimiser.weight_decay == 1e-4
    assert (schedule.name, schedule.warmup_epochs, schedule.warmup_start) == ("cosine", 3, 0.1)
    assert (schedule.floor, schedule.flat_epochs) == (0.01, 15)
    assert preset.train.loss_options == {"focal": {"alpha": 0.5, "gamma": 2.0}}
    assert preset.model.options == {"backbone": "starnet_s4", "context": "msaa", "shallow_attention": "ela"}


def test_file_takes_its_name_and_defaults(small: str) -> None:
    preset = load_preset(small)
    assert preset.name == "kleine Prüfung"
    assert preset.train.stages[0].optimiser.lr == 0.001, "1e-3 is a number, with or without a point"
    assert preset.train.select == "val/defect_iou"
    assert preset.predict.min_area == "auto"


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("train.stages.0.epochs=50", lambda p: p.train.stages[0].epochs == 50),
        ("train.stages.0.optimiser.lr=7e-3", lambda p: p.train.stages[0].optimiser.lr == 0.007),
        ("train.ema=0.999", lambda p: p.train.ema == 0.999),
        ("input.size=[224, 320]", lambda p: p.input.size == (224, 320)),
        ("model.weights=none", lambda p: p.model.weights == "none"),
        (r"model.weights=C:\models\start.safetensors", lambda p: p.model.weights == r"C:\models\start.safetensors"),
        ("model.context=aspp+msaa", lambda p: p.model.options["context"] == "aspp+msaa"),
        ("predict.min_area=12", lambda p: p.predict.min_area == 12),
        ("train.stages.0.schedule.warmup_epochs=1", lambda p: p.train.stages[0].schedule.warmup_epochs == 1),
        ("augment=[{rotate: {degrees: 5}}]", lambda p: p.augment == [{"rotate": {"degrees": 5.0, "p": 0.5}}]),
        (
            "train.stages.0.losses.ce={cosine: {high: 8, low: 4, every: 30}}",
            lambda p: p.train.stages[0].losses["ce"] == {"cosine": {"high": 8.0, "low": 4.0, "every": 30}},
        ),
        (
            "train.stages.0.losses.ce={linear: [1, 0]}",
            lambda p: p.train.stages[0].losses["ce"] == {"linear": [1.0, 0.0]},
        ),
    ],
)
def test_override(small: str, override: str, read: object) -> None:
    assert read(load_preset(small, [override]))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.bach_size=3", "train.bach_size is not a known key; did you mean 'batch_size'?"),
        ("trian.seed=3", "trian is not a known key; did you mean 'train'?"),
        ("train.stages.0.scheduel={}", "train.stages.0.scheduel is not a known key; did you mean 'schedule'?"),
        ("train.stages.0.epochs=many", "train.stages.0.epochs must be a whole number, not 'many'"),
        ("train.stages.0.epochs='50'", "train.stages.0.epochs must be a whole number, not '50'"),
        ("train.batch_size=2.5", "train.batch_size must be a whole number, not 2.5"),
        ("train.batch_size=true", "train.batch_size must be a whole number, not true"),
        ("train.batch_size=0", "train.batch_size must be at least 1, not 0"),
        ("train.batch_size=", "train.batch_size must be a whole number, not nothing"),
        ("train.stages=[]", "train.stages must hold at least 1 value, not []"),
        ("train=3", "train must be a mapping (key: value), not 3"),
        ("train.ema=.nan", "train.ema must be a finite number"),
        ("train.precision=bf61", "train.precision must be one of auto, float32, bf16, fp16, not 'bf61'"),
        ("train.select=miou", "train.select must look like val/defect_iou, not 'miou'"),
        ("input.size=[512]", "input.size must be [height, width] in whole pixels of at least 32, not [512]"),
        ("input.size=[16, 512]", "at least 32, not [16, 512]"),
        ("input.mode=strech", "did you mean 'stretch'?"),
        ("augment=[{hflop: 1}]", "augment.0 'hflop' is not a known augmentation; did you mean 'hflip'?"),
        ("augment=[{hflip: 2}]", "augment.0 hflip takes a probability from 0 to 1, not 2"),
        ("augment=[{hflip: 1, vflip: 1}]", "augment.0 must have exactly one key"),
        ("augment=[{rotate: {degres: 5, degrees: 5}}]", "augment.0.rotate.degres is not a known key; did you"),
        ("augment=[{scale: {low: 2, high: 1}}]", "augment.0.scale has low (2.0) above high (1.0)"),
        ("train.stages.0.losses.ce=-1", "train.stages.0.losses.ce must be 0 or more"),
        ("train.stages.0.losses.ce={sine: 1}", "'sine' is not a known weight schedule"),
        ("train.stages.0.losses={}", "train.stages.0 needs losses"),
        ("train.stages.0.updates=5", "train.stages.0 needs exactly one of epochs and updates"),
        ("train.stages.0.optimiser.momentum=0.5", "which 'adam' does not use (it takes betas, lr, weight_decay)"),
        ("train.stages.0.schedule={name: step}", "needs milestones"),
        ("train.micro_batch=8", "train has micro_batch 8 above batch_size 4"),
        ("predict.min_area=-3", "predict.min_area must be a number of pixels (0 or more) or auto, not -3"),
        ("foo", "--set 'foo' must have the form key.path=value"),
        ("train..x=1", "must have the form key.path=value"),
        ("train.stages.1.epochs=3", "train.stages is numbered from 0 to 0, so there is no 1"),
        ("train.stages.all.epochs=3", "train.stages is a list, so a number from 0 must stand in the place of 'all'"),
        ("train.batch_size.x=3", "train.batch_size is a single value and has no 'x'"),
        ("train.seed=[1", "is not valid YAML"),
    ],
)
def test_mistakes_are_told_in_plain_words(small: str, override: str, words: str) -> None:
    text = message(small, [override])
    assert words in text
    assert "\n" not in text, "one mistake is one sentence"
    for jargon in ("pydantic", "Input should", "type=", "extra_forbidden"):
        assert jargon not in text


def test_all_mistakes_are_told_at_once(small: str) -> None:
    text = message(small, ["train.bach_size=3", "input.mode=x", "train.stages.0.optimiser.lr=-1", "nonsense"])
    lines = text.splitlines()
    assert lines[0].endswith("has 4 problems:")
    assert len(lines) == 5
    for key in ("train.bach_size", "input.mode", "train.stages.0.optimiser.lr", "nonsense"):
        assert sum(key in line for line in lines[1:]) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("quik", f"no preset is named 'quik'; did you mean 'quick'? (known: {', '.join(preset_names())})"),
        ("missing.yaml", "preset file 'missing.yaml' does not exist"),
        ("some/zzz", "preset file 'some/zzz' does not exist"),
    ],
)
def test_unknown_preset(name: str, words: str) -> None:
    assert message(name) == words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: [1", "is not valid YAML in line"),
        (b"model: {name: a}\nmodel: {name: b}\n", "is not valid YAML in line 2: key 'model' stands twice"),
        (b"- 1\n", "must hold keys and values"),
        (b"", "must hold keys and values"),
        (b"\xff\xfe\x00", "is not a text file in UTF-8"),
        (b"!!python/object/apply:os.getcwd []", "is not valid YAML"),
        (b"? [a, b]\n: 1\n", "a key must be a word"),
    ],
)
def test_files_that_are_no_presets(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    assert words in message(str(path))


def test_turns_carry_the_losses() -> None:
    values = {
        "name": "x",
        "model": {"name": "m"},
        "input": {"size": [32, 32]},
        "train": {
            "batch_size": 1,
            "stages": [
                {
                    "epochs": 4,
                    "optimiser": {"name": "sgd", "lr": 0.1},
                    "turns": [{"train": ["segmentation"], "losses": {"ce": 1}, "epochs": 1}],
                }
            ],
        },
    }
    preset = check_preset(values, "the test")
    assert preset.train.stages[0].turns[0].losses == {"ce": 1.0}
    values["train"]["stages"][0]["losses"] = {"ce": 1}
    with pytest.raises(InputError, match="losses and train belong into the turns"):
        check_preset(values, "the test")


def test_reading_presets_imports_neither_torch_nor_opencv() -> None:
    code = "import sys; from defectctl.config.presets import load_preset; load_preset('quick'); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=True)
    assert not {"torch", "cv2"} & set(run.stdout.split())


def test_the_last_stage_must_be_able_to_give_the_model() -> None:
    with pytest.raises(InputError, match="keep_best: false; the last stage"):
        load_preset("quick", ["train.stages.0.keep_best=false"])


def test_crops_that_nobody_takes_are_refused() -> None:
    with pytest.raises(InputError, match=r"train\.crops, which input.mode 'resize' does not take"):
        load_preset("quick", ["train.crops.defect_share=0.9"])
    assert load_preset("quick", ["train.crops.defect_share=0.9", "input.mode=tile"]).train.crops.defect_share == 0.9


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.class_weights=x", "train.class_weights must be auto or a list of weights of 0 or more"),
        ("train.class_weights=[1, -1]", "background first, not [1, -1]"),
        ("train.dynamic_threshold={reference: 2}", "train.dynamic_threshold.reference must be a share"),
    ],
)
def test_values_of_several_kinds_are_refused_in_one_sentence(small: str, override: str, words: str) -> None:
    told = message(small, [override])
    assert words in told and "literal" not in told and "\n" not in told
