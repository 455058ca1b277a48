"""Libraries that are missing, broken, doubled or hidden by a file of the same name."""

import importlib
import sys
from types import SimpleNamespace

import pytest

from defectctl.diagnosis import installation
from defectctl.diagnosis.checks import FAILED, OK, WARNING


@pytest.fixture
def broken(monkeypatch, tmp_path):
    """Put a module into the way whose import raises."""

    def make(name, raising):
        (tmp_path / f"{name}.py").write_text(raising, encoding="utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()

    return make


@pytest.fixture
def packages(monkeypatch):
    """Say which packages are installed."""

    def make(**versions):
        there = {name.replace("_", "-"): version for name, version in versions.items()}
        monkeypatch.setattr(installation, "installed", there.get)

    return make


def test_this_installation_is_in_order():
    checks = [
        installation.this_program(),
        installation.python(),
        installation.numpy(),
        installation.torch_library(),
        installation.packages(),
    ]
    assert [check.status for check in checks] == [OK] * 5
    import torch

    assert checks[3].facts["version"] == torch.__version__


def test_a_dll_that_cannot_be_loaded_on_windows(broken, packages, monkeypatch):
    packages(torch="2.6.0")
    monkeypatch.setattr(installation.os, "name", "nt")
    broken("torch", 'raise OSError(22, "[WinError 126] The specified module could not be found: fbgemm.dll")')
    check = installation.torch_library()
    assert check.status == FAILED and "2.6.0" in check.text and "fbgemm.dll" in check.text
    assert "Visual C++ Redistributable" in check.advice


def test_a_shared_library_that_is_missing_is_named(broken, packages):
    packages(torch="2.6.0")
    broken("torch", 'raise ImportError("libcudnn.so.9: cannot open shared object file: No such file or directory")')
    check = installation.torch_library()
    assert check.status == FAILED and "libcudnn.so.9" in check.advice


def test_a_torch_that_misses_a_module_of_its_own(broken, packages):
    packages(torch="2.6.0")
    broken("torch", "import no_such_module_at_all")
    check = installation.torch_library()
    assert check.status == FAILED and "no_such_module_at_all" in check.text and "not installed" not in check.text


def test_without_torch(packages, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    packages()
    check = installation.torch_library()
    assert check.status == FAILED and check.text == "not installed" and "pip install torch" in check.advice
    packages(onnxruntime="1.20")
    check = installation.torch_library()
    assert check.status == WARNING and check.blocks and "ONNX" in check.text


def test_a_folder_called_torch_hides_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__path__=["/parts/torch"]))
    check = installation.torch_library()
    assert check.status == FAILED and "/parts/torch" in check.text and "rename" in check.advice


def test_torchvision_of_another_release(broken, packages):
    packages(torchvision="0.18.0")
    broken("torchvision", 'raise RuntimeError("operator torchvision::nms does not exist")')
    check = installation.torchvision_library()
    assert check.status == WARNING and "torchvision::nms" in check.text and "together" in check.advice


def test_opencv_of_a_desktop_on_a_server(broken, packages):
    packages(opencv_python="4.10.0.84")
    broken("cv2", 'raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")')
    check = installation.opencv()
    assert check.status == FAILED and "libGL.so.1" in check.text
    assert "uninstall -y opencv-python " in check.advice and "install opencv-python-headless" in check.advice


def test_two_opencv_over_each_other(packages):
    packages(opencv_python="4.10", opencv_python_headless="4.11")
    check = installation.opencv()
    assert check.status == WARNING and "opencv-python 4.10, opencv-python-headless 4.11" in check.text
    packages(opencv_python_headless="4.11")
    assert installation.opencv().status == OK


def test_an_opencv_that_decodes_wrongly(monkeypatch):
    import cv2

    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: None)
    assert installation.opencv().status == FAILED
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(__path__=["/parts/cv2"]))
    check = installation.opencv()
    assert check.status == FAILED and "/parts/cv2" in check.text


def test_missing_packages_are_listed_with_the_command_that_mends_it(packages, monkeypatch):
    packages(**{name.replace("-", "_"): "1.0" for name in installation.NEEDED if name != "safetensors"})
    assert installation.packages().status == OK, "a module without a package's records is there all the same"
    monkeypatch.setitem(installation.NEEDED, "safetensors", "no_such_module_at_all")
    check = installation.packages()
    assert check.status == FAILED and "safetensors MISSING" in check.text
    assert check.advice == "python -m pip install safetensors"


def test_optional_packages_may_be_absent_but_not_broken(packages, broken):
    packages()
    assert installation.optional().status == OK
    packages(onnxruntime="1.20")
    broken("onnxruntime", 'raise ImportError("DLL load failed while importing onnxruntime_pybind11_state")')
    check = installation.optional()
    assert check.status == WARNING and "DLL load failed" in check.text


def test_a_python_that_cannot_open_names_in_other_alphabets(monkeypatch):
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "cp1252")
    check = installation.python()
    assert check.status == WARNING and "cp1252" in check.text and "PYTHONUTF8" in check.advice
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "UTF-8")
    monkeypatch.setattr(installation.struct, "calcsize", lambda kind: 4)
    assert "64-bit" in installation.python().advice
