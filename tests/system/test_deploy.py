"""What `deploy/` hands out: units and agents that can be read, and command lines that our commands take."""

import getpass
import plistlib
import re
import shlex
import subprocess
import sys
from pathlib import Path
from string import Template

import pytest

from jangtq_coordinator.cli.main import program
from jangtq_coordinator.config import ClusterSettings, ServeSettings
from jangtq_proto.open_files import ENOUGH
from jangtq_proto.shared_options import MODEL_VARIABLE
from jangtq_worker.cli import command_line
from jangtq_worker.settings import WorkerSettings
from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"


def check_command(command: list[str]) -> None:
    """Whatever it starts listens to other machines, or asks them, inside TLS only."""
    arguments = command[1:]
    if Path(command[0]).name == "jangtq-worker":
        worker = command_line().read(arguments)[WorkerSettings]
        assert worker.tls is not None and not worker.listen.is_loopback
    else:
        assert Path(command[0]).name == "jangtq-coord"
        name, given = program().read(arguments)
        assert (name, given[ServeSettings].host) == ("serve", "127.0.0.1")
        assert given[ClusterSettings].tls is not None


@pytest.mark.parametrize("name", ["io.jangtq.worker.plist", "io.jangtq.coordinator.plist"])
def test_launchd_daemons(name: str) -> None:
    daemon = plistlib.loads((DEPLOY / "macos" / name).read_bytes(), fmt=plistlib.FMT_XML)
    assert f"{daemon['Label']}.plist" == name and daemon["KeepAlive"] and daemon["UserName"]
    assert daemon["SoftResourceLimits"]["NumberOfFiles"] == ENOUGH
    check_command(daemon["ProgramArguments"])


def installer(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DEPLOY / "macos/install.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("role", ["worker", "coordinator"])
def test_the_installer_says_what_the_page_would_install(role: str) -> None:
    page = (DEPLOY / "README.md").read_text()
    (typed,) = re.findall(rf"^    python3 deploy/macos/install.py ({role} -- .*)$", page, re.MULTILINE)
    done = installer("--dry-run", *shlex.split(typed))
    assert done.returncode == 0, done.stderr
    text = done.stdout
    plist = plistlib.loads(text[text.index("<?xml") : text.index("</plist>") + len("</plist>")].encode())
    assert plist["UserName"] == getpass.getuser()
    assert not any("USER" in str(value) or "~" in str(value) for value in plist.values())
    check_command(plist["ProgramArguments"])
    steps = [line.split()[:2] for line in text[text.index("</plist>") :].splitlines()[1:] if line.strip()]
    load = ["sudo", "launchctl"]
    assert steps == [["plutil", "-lint"], load, ["sudo", "install"], load]
    assert "there is no such folder" in done.stderr


def test_the_installer_removes_what_it_installed() -> None:
    done = installer("--dry-run", "remove", "worker")
    assert "launchctl bootout system/io.jangtq.worker" in done.stdout
    assert "rm -f /Library/LaunchDaemons/io.jangtq.worker.plist" in done.stdout
    assert installer("--dry-run", "remove").returncode == 2


@pytest.mark.parametrize("name", ["jangtq-worker.service", "jangtq-coord.service"])
def test_systemd_units(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (DEPLOY / "linux" / name).read_text().splitlines()
    told = [line.partition("=") for line in lines if line and line[0] not in "#["]
    assert all(separator for _, separator, _ in told)
    variables = dict(value.split("=", 1) for key, _, value in told if key == "Environment")
    monkeypatch.setenv(MODEL_VARIABLE, variables[MODEL_VARIABLE])
    (start,) = (value for key, _, value in told if key == "ExecStart")
    check_command(shlex.split(Template(start).substitute(variables)))
