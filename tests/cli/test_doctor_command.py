"""`defectctl doctor`: the whole command, its exit codes, one JSON document, and no user name."""

import json
import os
import subprocess
import sys

import pytest

from defectctl.cli import app
from defectctl.cli.app import main
from defectctl.diagnosis import doctor
from defectctl.diagnosis.checks import FAILED, OK, SELF_TEST, WARNING, Check

FINE = Check(OK, "fine", name="python", group="installation")
SLOW = Check(WARNING, "slow", "buy a new one", {"ms": float(3)}, "gpu", "devices")
BROKEN = Check(FAILED, "OSError: c10.dll", "reinstall it", name="torch", group="installation")
UNTESTED = Check("not tried", "needs torch", name="self-test", group=SELF_TEST)


@pytest.fixture(autouse=True)
def in_the_table(monkeypatch):
    """The command is called as it will be from the table of commands."""
    monkeypatch.setitem(app.COMMANDS, "doctor", ("defectctl.cli.doctor", "Look at the installation."))


@pytest.fixture
def found(monkeypatch):
    """Say what the probes find."""

    def make(*checks):
        monkeypatch.setattr(doctor, "run_isolated", lambda probes, registry: iter(checks))

    return make


@pytest.mark.parametrize("checks, code", [((FINE,), 0), ((FINE, SLOW), 3), ((BROKEN, UNTESTED), 1)])
def test_exit_codes(found, capsys, checks, code):
    found(*checks)
    assert main(["doctor"]) == code
    printed = capsys.readouterr().out
    assert all(check.text in printed and check.advice in printed for check in checks)
    assert ("all is well" in printed) == (code == 0) and ("self-test failed" in printed) == (code == 1)


def test_quiet_prints_findings_only(found, capsys):
    found(FINE, SLOW)
    assert main(["doctor", "--quiet"]) == 3
    assert capsys.readouterr().out.split("\n") == ["  warning   gpu: slow", f"{' ' * 12}-> buy a new one", ""]
    found(FINE)
    assert main(["doctor", "-q"]) == 0 and capsys.readouterr().out == ""
    found(FINE, SLOW)
    main(["doctor", "-q", "--json"])
    assert [check["name"] for check in json.loads(capsys.readouterr().out)["checks"]] == ["gpu"]


def test_json_is_one_document(found, capsys):
    found(FINE, SLOW, BROKEN, UNTESTED)
    assert main(["doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == 1 and [check["status"] for check in told["checks"]] == [
        "ok",
        "warning",
        "failed",
        "not tried",
    ]
    assert told["checks"][1] == {
        "group": "devices",
        "name": "gpu",
        "status": "warning",
        "text": "slow",
        "advice": "buy a new one",
        "facts": {"ms": 3.0},
    }


def run_doctor(folder, *arguments, **variables):
    """The command in a process of its own, in `folder`, run by a user called zacharias."""
    code = (
        "import sys; from defectctl.cli import app; app.COMMANDS['doctor'] = ('defectctl.cli.doctor', ''); "
        "sys.exit(app.main(sys.argv[1:]))"
    )
    home = folder.parent
    named = {"HOME": str(home), "USERPROFILE": str(home), "USER": "zacharias", "TMPDIR": str(home), "TEMP": str(home)}
    environment = {**os.environ, **named, "DEFECTCTL_MODEL": "", **variables}
    command = [sys.executable, "-c", code, "doctor", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)


def test_the_whole_command(tmp_path):
    folder = tmp_path / "zacharias" / "my parts"
    folder.mkdir(parents=True)
    run = run_doctor(folder, "--json")
    told = json.loads(run.stdout)
    assert run.returncode == told["exit_code"] in (0, 3), told["summary"]
    checks = {check["name"]: check for check in told["checks"]}
    assert all(checks[name]["status"] == OK for name in ("numpy", "opencv", "torch", "names", "pipeline", "timings"))
    assert "~" in checks["working folder"]["text"] and "zacharias" not in run.stdout.lower()
    assert run.stderr == "" and list(folder.iterdir()) == []


def test_torch_that_cannot_be_loaded_is_told_and_the_rest_is_still_looked_at(tmp_path):
    folder, modules = tmp_path / "here", tmp_path / "modules"
    folder.mkdir()
    modules.mkdir()
    (modules / "torch.py").write_text('raise OSError("[WinError 1114] c10.dll")', encoding="utf-8")
    inherited = os.pathsep.join([str(modules), *filter(None, [os.environ.get("PYTHONPATH")])])
    run = run_doctor(folder, "--json", PYTHONPATH=inherited)
    told = json.loads(run.stdout)
    assert run.returncode == 1 and "Traceback" not in run.stdout + run.stderr
    status = {check["name"]: check["status"] for check in told["checks"]}
    assert status["torch"] == FAILED and status["self-test"] == status["gpu"] == "not tried"
    assert status["opencv"] == status["names"] == OK
    (modules / "torch.py").write_text("import os; os.abort()", encoding="utf-8")
    run = run_doctor(folder, "--no-test", "--quiet", PYTHONPATH=inherited)
    assert run.returncode == 3 and "torch: Python was ended by the system" in run.stdout
