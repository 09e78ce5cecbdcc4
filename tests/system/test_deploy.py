"""What `deploy/` hands out: units and agents that can be read, and command lines that our commands take."""

import plistlib
import shlex
from pathlib import Path
from string import Template

import pytest

from jangtq_coordinator.cli.main import program
from jangtq_coordinator.config import ClusterSettings, ServeSettings
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
def test_launchd_agents(name: str) -> None:
    agent = plistlib.loads((DEPLOY / "macos" / name).read_bytes(), fmt=plistlib.FMT_XML)
    assert f"{agent['Label']}.plist" == name and agent["KeepAlive"]
    check_command(agent["ProgramArguments"])


@pytest.mark.parametrize("name", ["jangtq-worker.service", "jangtq-coord.service"])
def test_systemd_units(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (DEPLOY / "linux" / name).read_text().splitlines()
    told = [line.partition("=") for line in lines if line and line[0] not in "#["]
    assert all(separator for _, separator, _ in told)
    variables = dict(value.split("=", 1) for key, _, value in told if key == "Environment")
    monkeypatch.setenv(MODEL_VARIABLE, variables[MODEL_VARIABLE])
    (start,) = (value for key, _, value in told if key == "ExecStart")
    check_command(shlex.split(Template(start).substitute(variables)))
