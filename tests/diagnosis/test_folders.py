"""Folders, names, data, models and variables: absent is in order, broken is a finding, and nothing stays behind."""

import os
import shutil
from collections import namedtuple
from contextlib import contextmanager

import pytest

from defectctl.checkpoints.contract import Contract
from defectctl.checkpoints.runs import mark_run, new_run
from defectctl.checkpoints.weights import save_model
from defectctl.config.presets import load_preset, preset_to_dict
from defectctl.diagnosis import folders
from defectctl.diagnosis.checks import FAILED, OK, WARNING
from defectctl.errors import InputError
from defectctl.imaging import reader


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder, with no model named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEFECTCTL_MODEL", raising=False)
    return tmp_path


def test_an_empty_folder_is_in_order_and_stays_empty(here):
    checks = [folders.working_folder(), folders.temporary_folder(), folders.names(), folders.locks()]
    checks += [folders.dataset(), folders.model()]
    assert [check.status for check in checks] == [OK] * 6, checks
    assert all("none found" in check.text for check in checks[4:])
    assert list(here.iterdir()) == []


def test_little_room_is_a_finding(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1 << 40, 0, 100 << 20))
    check = folders.working_folder()
    assert check.status == WARNING and "0.1 GiB free" in check.text and "room" in check.advice


def test_a_folder_that_is_closed(monkeypatch):
    def refuse(folder, what):
        raise InputError("no") from PermissionError(13, "Permission denied")

    monkeypatch.setattr(folders, "check_writable", refuse)
    check = folders.working_folder()
    assert check.status == FAILED and "Permission denied" in check.text and "--out" in check.advice
    assert "TMPDIR" in folders.temporary_folder().advice
    assert folders.names().status == OK, "tried in the temporary folder"


def test_a_file_system_that_takes_plain_letters_only(monkeypatch):
    def refuse(path, data):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(folders, "write_bytes", refuse)
    check = folders.names()
    assert check.status == FAILED and "Invalid argument" in check.text and "plain letters" in check.advice


def test_pictures_that_come_back_changed_or_slowly(monkeypatch):
    right = reader.read_image
    monkeypatch.setattr(reader, "read_image", lambda path: right(path)[::-1])
    assert folders.names().status == FAILED
    monkeypatch.setattr(reader, "read_image", right)
    monkeypatch.setattr(folders, "SLOW_WRITE", -1.0)
    assert folders.names().status == WARNING and "virus scanner" in folders.names().advice


def test_a_share_that_cannot_lock(monkeypatch):
    @contextmanager
    def refused(folder, what):
        raise InputError("the folder is being written by another defectctl")
        yield

    monkeypatch.setattr(folders, "folder_lock", refused)
    assert folders.locks().status == FAILED


def finished_run():
    import torch

    run = new_run(folders.Path("runs"), "quick")
    contract = Contract(preset_to_dict(load_preset("quick")), ["dent"], [(255, 0, 0)], versions={"defectctl": "0.0.9"})
    save_model(run / "model.safetensors", {"weight": torch.zeros(2)}, contract)
    mark_run(run, "finished")
    return run


def test_the_newest_model_and_the_dataset_are_named(here, monkeypatch):
    run = finished_run()
    (here / "data" / "parts").mkdir(parents=True)
    (here / "data" / "parts" / "dataset.yaml").touch()
    check = folders.model()
    assert check.status == OK and "deeplabv3plus, 1 classes, made by defectctl 0.0.9" in check.text
    assert str(run / "model.safetensors") in check.text and "newest finished run" in check.text
    assert folders.dataset().facts["found"] == os.path.join("data", "parts")
    (here / "data" / "more").mkdir()
    (here / "data" / "more" / "dataset.yaml").touch()
    assert folders.dataset().status == OK and "several" in folders.dataset().text


def test_models_that_cannot_be_used_are_findings(here, monkeypatch, capsys):
    run = finished_run()
    (here / "runs" / "old-001").mkdir()
    (here / "runs" / "old-001" / "run.json").write_text("{}", encoding="utf-8")
    check = folders.model()
    assert check.status == WARNING and "old-001" in check.text and capsys.readouterr().err == ""
    shutil.rmtree(here / "runs" / "old-001")
    (run / "model.safetensors").write_bytes(b"no weights")
    assert folders.model().status == WARNING
    monkeypatch.setenv("DEFECTCTL_MODEL", "gone.safetensors")
    check = folders.model()
    assert check.status == WARNING and "gone.safetensors" in check.text and "DEFECTCTL_MODEL" in check.advice


def test_only_variables_of_the_list_are_shown(monkeypatch):
    for name in folders.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://anna:secret@proxy")
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert folders.variables().text == "none of those that matter"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert folders.variables().status == OK and folders.variables().facts == {"OMP_NUM_THREADS": "2"}
    monkeypatch.setenv("KMP_DUPLICATE_LIB_OK", "TRUE")
    assert folders.variables().status == WARNING and "KMP_DUPLICATE_LIB_OK" in folders.variables().advice
