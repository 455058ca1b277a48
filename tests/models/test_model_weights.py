"""First weights: from files of both kinds, whole or the encoder alone, and plain refusals."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from defectctl.errors import InputError
from defectctl.models import weights
from defectctl.models.registry import build_model
from defectctl.models.weights import read_weights

SMALL = {"backbone": "starnet_s050"}


def build(weights="none", classes=2, channels=3):
    return build_model(SimpleNamespace(name="sme-deeplab", weights=str(weights), options=SMALL), classes, channels)


def test_whole_network_from_safetensors(tmp_path, capsys):
    source = build()
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    target = build(tmp_path / "model.safetensors")
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value)
    total = len(source.state_dict())
    assert f"{total} of the {total} tensors" in capsys.readouterr().err


def test_other_class_count_keeps_everything_but_the_classifier(tmp_path, capsys):
    source = build()
    torch.save({"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, tmp_path / "model.pth")
    target = build(tmp_path / "model.pth", classes=5)
    assert torch.equal(target.segmentation.fuse[0].conv.weight, source.segmentation.fuse[0].conv.weight)
    assert target.segmentation.classify.out_channels == 6
    assert "2 of another shape left out (segmentation.classify" in capsys.readouterr().err


def test_encoder_alone_also_for_grey_images(tmp_path):
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("starnet_s050").state_dict()
    torch.save(theirs, tmp_path / "starnet.pth")
    target = build(tmp_path / "starnet.pth", channels=1)
    assert torch.equal(target.encoder.stages[0][0].conv.weight, theirs["stages.0.0.conv.weight"])
    grey = torch.rand(1, 1, 8, 8)
    with torch.no_grad():
        mine = torch.nn.functional.conv2d(grey, target.encoder.stem[0].conv.weight)
        colour = torch.nn.functional.conv2d(grey.expand(-1, 3, -1, -1), theirs["stem.0.conv.weight"])
    torch.testing.assert_close(mine, colour)


def test_foreign_tensors_are_refused(tmp_path):
    save_file({"something.else": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(InputError, match="none of the 1 tensors fits"):
        build(tmp_path / "foreign.safetensors")


class Trap:
    """Something that must not be rebuilt from a file."""


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_broken_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"broken{suffix}"
    for content in (b"", b"not weights at all", b"\x08" + bytes(40)):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a file of tensors"):
            read_weights(path)


def test_pickled_objects_are_refused(tmp_path):
    torch.save({"model": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(InputError, match="not a file of tensors"):
        read_weights(tmp_path / "trap.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(InputError, match="no table of named tensors"):
        read_weights(tmp_path / "list.pth")


@pytest.mark.parametrize(
    "answers, reason", [(True, "cannot reach the hub"), (False, "https://hub.test does not answer")]
)
def test_imagenet_offline_is_one_plain_sentence(monkeypatch, answers, reason):
    timm = pytest.importorskip("timm")

    def offline(*args, **kwargs):
        raise OSError("cannot reach the hub\nlong trace")

    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr(weights, "hub_answers", lambda: answers)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.test")
    with pytest.raises(InputError, match=rf"cannot be had here \(.*{reason}\).*--set model.weights=FILE") as caught:
        build("imagenet")
    assert "\n" not in str(caught.value)


def test_hub_is_asked_for_by_its_address_or_proxy(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(weights.urllib.request, "getproxies", lambda: {})
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        assert weights.hub_answers()
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
        assert not weights.hub_answers()
        monkeypatch.setattr(weights.urllib.request, "getproxies", lambda: {"https": f"127.0.0.1:{port}"})
        assert weights.hub_answers()


def test_imagenet_is_looked_for_in_the_cache_before_the_network(monkeypatch):
    timm = pytest.importorskip("timm")
    from huggingface_hub import constants

    theirs, seen = timm.create_model("starnet_s050"), []

    def create(name, pretrained):
        seen.append(constants.HF_HUB_OFFLINE)
        if constants.HF_HUB_OFFLINE:
            raise OSError("not cached")
        return theirs

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(timm, "create_model", create)
    monkeypatch.setattr(weights, "hub_answers", lambda: True)
    build("imagenet")
    assert seen == [True, False] and constants.HF_HUB_OFFLINE is False


def test_imagenet_fills_the_encoder(monkeypatch):
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("starnet_s050")
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: theirs)
    target = build("imagenet")
    assert torch.equal(target.encoder.stages[3][1].g.conv.weight, theirs.state_dict()["stages.3.1.g.conv.weight"])
