"""The presets live at the top level and travel inside the package."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_packaging_maps_the_presets_into_the_package() -> None:
    tomllib = pytest.importorskip("tomllib", reason="tomllib comes with Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    targets = project["tool"]["hatch"]["build"]["targets"]
    assert targets["wheel"]["force-include"] == {"presets": "defectctl/presets"}
    assert "/presets" in targets["sdist"]["include"], "a wheel built from the source archive finds them there"
    assert project["project"]["scripts"] == {"defectctl": "defectctl.cli.app:main"}


@pytest.mark.skipif(find_spec("hatchling") is None, reason="hatchling, the build backend, is not installed")
def test_wheel_holds_every_preset(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("defectctl/presets/")}
    assert packed == {f"defectctl/presets/{path.name}" for path in (ROOT / "presets").glob("*.yaml")}


def test_installed_folder_goes_before_the_checkout(tmp_path: Path) -> None:
    from shutil import copytree, ignore_patterns

    copytree(ROOT / "defectctl" / "config", tmp_path / "defectctl" / "config", ignore=ignore_patterns("__pycache__"))
    for name in ("__init__.py", "errors.py", "version.py"):
        (tmp_path / "defectctl" / name).write_bytes((ROOT / "defectctl" / name).read_bytes())
    copytree(ROOT / "presets", tmp_path / "defectctl" / "presets")
    code = "from defectctl.config.presets import *; print(preset_folder()); print(*preset_names())"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    folder, names = run.stdout.splitlines()
    assert Path(folder).resolve() == (tmp_path / "defectctl" / "presets").resolve()
    assert names.split() == sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))
