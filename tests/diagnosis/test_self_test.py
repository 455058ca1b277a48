"""The self-test passes where all is well, and finds pictures, networks and masks that are not."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from defectctl.checkpoints.contract import Contract
from defectctl.checkpoints.runs import mark_run, new_run
from defectctl.checkpoints.weights import save_model
from defectctl.config.presets import load_preset, preset_to_dict
from defectctl.diagnosis import self_test as module
from defectctl.diagnosis.checks import FAILED, NOT_TRIED, OK, SELF_TEST, WARNING, Probe, run_probe
from defectctl.inference.writers import ResultWriter
from defectctl.models.registry import build_model


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Temporary files in a folder of this test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_all_is_well_here_and_nothing_stays(here, capsys):
    checks = module.self_test()
    assert [(check.name, check.status) for check in checks] == [(name, OK) for name, _ in module.STEPS], checks
    assert checks[1].facts["loss"] == pytest.approx(np.log(4), abs=0.6), "four equally likely classes at the start"
    assert all(checks[3].facts[key] > 0 for key in ("network_ms", "write_ms"))
    printed = capsys.readouterr()
    assert printed.out == printed.err == "" and list(here.iterdir()) == []


def test_a_network_whose_numbers_are_none_is_found(monkeypatch):
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", lambda logits, truth: logits.mean() * float("nan"))
    checks = module.self_test()
    assert [check.status for check in checks] == [OK, FAILED, NOT_TRIED, NOT_TRIED]
    assert checks[1].facts["loss"] is None and "nan" in checks[1].text


@pytest.mark.parametrize("fault, words", [("crop", "190x200"), ("fill", "written mask"), ("raise", "Errno 28")])
def test_a_mask_that_is_not_what_it_should_be_is_found(monkeypatch, fault, words):
    write = ResultWriter.write

    def wrong(self, item, prediction, *rest):
        if fault == "raise":
            raise OSError(28, "No space left on device")
        if fault == "crop":
            prediction.class_map = prediction.class_map[:, :190]
        else:
            prediction.class_map = (prediction.class_map + 1) % 4
        return write(self, item, prediction, *rest)

    monkeypatch.setattr(ResultWriter, "write", wrong)
    bench = module.Bench(Path(tempfile.mkdtemp()))
    module.surfaces(bench)
    module.network(bench)
    monkeypatch.setattr(module, "STEPS", module.STEPS[2:])
    monkeypatch.setattr(module, "Bench", lambda root: bench)
    checks = module.self_test()
    assert checks[0].status == FAILED and words in checks[0].text and checks[1].status == NOT_TRIED


def test_slow_writing_is_a_finding(monkeypatch):
    bench = module.Bench(Path(tempfile.mkdtemp()))
    module.surfaces(bench)
    module.network(bench)
    times = iter([0.5, 20.0, 900.0])
    monkeypatch.setattr(module, "_median_ms", lambda items, work: next(times))
    check = module.timings(bench)
    assert check.status == WARNING and "virus scanner" in check.advice


def test_the_model_that_would_be_taken_is_tried(here, monkeypatch, capsys):
    monkeypatch.chdir(here)
    monkeypatch.delenv("DEFECTCTL_MODEL", raising=False)
    assert module.trial().status == OK and "none" in module.trial().text
    run = new_run(Path("runs"), "quick")
    preset = load_preset("quick", module.OVERRIDES)
    model = build_model(preset.model, 1)
    save_model(run / "model.safetensors", model.state_dict(), Contract(preset_to_dict(preset), ["dent"], [(255, 0, 0)]))
    mark_run(run, "finished")
    check = module.trial()
    assert check.status == OK and "model.safetensors predicts 2 surfaces" in check.text
    assert sum(check.facts["verdicts"].values()) == 2 and capsys.readouterr().err == ""
    save_model(run / "model.safetensors", {"w": torch.zeros(1)}, Contract(preset_to_dict(preset), ["a"], [(0, 0, 0)]))
    (found,) = run_probe(Probe("model found", SELF_TEST, module.trial))
    assert found.status == FAILED and "do not fit the network" in found.text
    assert [path.name for path in here.iterdir()] == ["runs"]
