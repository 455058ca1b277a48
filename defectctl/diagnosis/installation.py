"""Probes of what is installed: Python, the packages, and whether the native ones among them can be loaded at all."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import struct
import sys
from importlib import metadata
from pathlib import Path

from defectctl.diagnosis.checks import FAILED, OK, REPORT_IT, WARNING, Check, one_line
from defectctl.version import __version__

NEEDED = {
    "pillow": "PIL",
    "scipy": "scipy",
    "pydantic": "pydantic",
    "pyyaml": "yaml",
    "safetensors": "safetensors",
    "rich": "rich",
    "tqdm": "tqdm",
    "matplotlib": "matplotlib",
    "pycocotools": "pycocotools",
    "timm": "timm",
    "segmentation-models-pytorch": "segmentation_models_pytorch",
    "typer": "typer",
}
"""Package -> the module it brings."""
OPTIONAL = ("onnxruntime", "onnx", "openvino")
OPENCV_PACKAGES = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
RUNTIME = (
    "install the Microsoft Visual C++ Redistributable (x64), start the machine anew, and if that does not help "
    "reinstall {} in a fresh environment"
)
"""What mends a DLL that Windows cannot load, most often."""


def this_program() -> Check:
    """Version and place of defectctl."""
    place = str(Path(__file__).resolve().parents[1])
    return Check(OK, f"{__version__} in {place}", facts={"version": __version__, "place": place})


def python() -> Check:
    """Version, width and text encoding of Python."""
    bits = 8 * struct.calcsize("P")
    encoding = sys.getfilesystemencoding()
    facts = {"version": platform.python_version(), "bits": bits, "file_names": encoding, "place": sys.executable}
    text = f"{platform.python_implementation()} {facts['version']}, {bits} bit, {sys.executable}"
    if bits < 64:
        return Check(WARNING, text, "install the 64-bit Python: there is no torch for this one", facts)
    if encoding.lower().replace("-", "") != "utf8":
        advice = "set the environment variable PYTHONUTF8=1: files whose names are in other alphabets cannot be opened"
        return Check(WARNING, f"{text}, file names in {encoding}", advice, facts)
    return Check(OK, text, facts=facts)


def packages() -> Check:
    """Versions of the packages that every command needs."""
    found = {name: installed(name) for name in NEEDED}
    text = ", ".join(f"{name} {version or 'MISSING'}" for name, version in found.items())
    missing = [name for name, module in NEEDED.items() if not found[name] and not _can_be_found(module)]
    if missing:
        return Check(FAILED, text, f"python -m pip install {' '.join(missing)}", found)
    return Check(OK, text, facts=found)


def optional() -> Check:
    """Versions of packages that only some commands need; those that are there must load."""
    found = {name: installed(name) for name in OPTIONAL}
    text = ", ".join(f"{name} {version or 'not installed'}" for name, version in found.items())
    for name, version in found.items():
        if version:
            try:
                importlib.import_module(name)
            except Exception as error:
                return Check(WARNING, f"{text}; {name} cannot be loaded: {one_line(error)}", _mend(name, error), found)
    return Check(OK, text, facts=found)


def numpy() -> Check:
    """Whether NumPy loads and computes."""
    try:
        import numpy as np

        right = float((np.eye(3) @ np.arange(3.0)).sum()) == 3.0
    except (ImportError, OSError) as error:
        return Check(FAILED, f"cannot be loaded: {one_line(error)}", _mend("numpy", error))
    return Check(OK if right else FAILED, np.__version__, "" if right else REPORT_IT, {"version": np.__version__})


def opencv() -> Check:
    """Whether OpenCV loads, without a second OpenCV in the same place, and decodes what it encodes."""
    builds = {name: version for name in OPENCV_PACKAGES if (version := installed(name))}
    listed = ", ".join(f"{name} {version}" for name, version in builds.items()) or "no package of OpenCV is installed"
    headless = (
        f"python -m pip uninstall -y {' '.join(builds)} and then python -m pip install opencv-python-headless, "
        "which needs no desktop libraries"
    )
    try:
        import cv2
        import numpy as np
    except (ImportError, OSError) as error:
        advice = headless if _of_the_desktop(error) and builds else _mend("opencv-python-headless", error)
        return Check(FAILED, f"cannot be loaded ({listed}): {one_line(error)}", advice, builds)
    if not hasattr(cv2, "imdecode"):
        place = getattr(cv2, "__file__", None) or next(iter(getattr(cv2, "__path__", ["?"])))
        return Check(FAILED, f"'{place}' is no OpenCV but is loaded as cv2 ({listed})", headless, builds)
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    for ending in (".png", ".bmp", ".tif", ".jpg"):
        same = cv2.imdecode(cv2.imencode(ending, picture)[1], cv2.IMREAD_UNCHANGED)
        if same is None or same.shape != (8, 8) or abs(same.astype(int) - picture).max() > 16:
            return Check(FAILED, f"{listed}: {ending} pictures are not read as they were written", headless, builds)
    facts = {"version": cv2.__version__, **builds}
    if len(builds) > 1:
        return Check(
            WARNING, f"{cv2.__version__}, but several are installed over each other: {listed}", headless, facts
        )
    return Check(OK, f"{cv2.__version__} ({listed})", facts=facts)


def torch_library() -> Check:
    """Whether torch loads, and what it was built for."""
    version = installed("torch")
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            return Check(FAILED, f"{version} cannot be loaded: {one_line(error)}", _mend("torch", error))
        return _without_torch()
    except Exception as error:  # broken DLLs raise OSError, mixed versions almost anything
        text = f"{version or 'a torch of unknown version'} cannot be loaded: {one_line(error)}"
        return Check(FAILED, text, _mend("torch", error), {"version": version})
    if not hasattr(torch, "__version__"):
        place = next(iter(getattr(torch, "__path__", ["?"])))
        return Check(FAILED, f"'{place}' is no torch but is loaded as torch", "rename it, or work in another folder")
    cuda = torch.version.cuda
    cudnn = torch.backends.cudnn.version() if cuda else None
    facts = {"version": str(torch.__version__), "cuda": cuda, "cudnn": cudnn, "hip": torch.version.hip}
    built = f"built for CUDA {cuda}, cuDNN {cudnn}" if cuda else "built without CUDA"
    return Check(OK, f"{torch.__version__}, {built}", facts=facts)


def torchvision_library() -> Check:
    """Whether torchvision loads beside this torch: a pair of different releases does not."""
    version = installed("torchvision")
    pair = "install torch and torchvision together, from the same index: each torch has its own torchvision"
    try:
        import torchvision
    except Exception as error:
        what = f"{version} cannot be loaded: {one_line(error)}" if version else "not installed"
        return Check(WARNING, f"{what}; models of the libraries cannot be built", pair, {"version": version})
    return Check(OK, torchvision.__version__, facts={"version": torchvision.__version__})


def installed(name: str) -> str | None:
    """Version of an installed package, which is not imported for it; None where there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _without_torch() -> Check:
    """Stations that only run ONNX models leave torch out on purpose."""
    install = "python -m pip install torch torchvision (with an NVIDIA GPU on Windows: the CUDA build, see the README)"
    if installed("onnxruntime"):
        text = "not installed: only `predict` with ONNX models works"
        return Check(WARNING, text, f"for everything else: {install}", {"version": None}, blocks=True)
    return Check(FAILED, "not installed", install, {"version": None})


def _mend(package: str, error: Exception) -> str:
    """What to do about a package that is there and does not load."""
    if isinstance(error, ModuleNotFoundError) and not installed(package):
        return f"python -m pip install {package}"
    if os.name == "nt":
        return RUNTIME.format(package)
    if missing := _missing_library(error):
        return (
            f"the system has no usable {missing}; reinstall {package} in a fresh environment with LD_LIBRARY_PATH "
            "unset, or install the system's package that holds it"
        )
    return f"reinstall {package} in a fresh environment: python -m pip install --force-reinstall {package}"


def _missing_library(error: Exception) -> str | None:
    """`libgomp.so.1` of "libgomp.so.1: cannot open shared object file"; None where the text names none."""
    words = str(error).replace(":", " ").replace("'", " ").split()
    return next((Path(word).name for word in words if ".so" in word or word.endswith(".dylib")), None)


def _of_the_desktop(error: Exception) -> bool:
    return any(part in str(error) for part in ("libGL", "libgthread", "libX", "libSM", "libICE", "libEGL", "Qt"))


def _can_be_found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
