"""What `deploy/` hands out: units and agents that can be read, and command lines that our commands take."""

import plistlib
import shlex
from pathlib import Path
from string import Template

import pytest

from jangtq_coordinator.cli.cluster_options import cluster_settings
from jangtq_coordinator.cli.main import parser
from jangtq_coordinator.cli.serve_options import serve_settings
from jangtq_proto.options import MODEL_VARIABLE
from jangtq_worker.cli import settings_from
from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"


def check_command(command: list[str]) -> None:
    """Whatever it starts listens to other machines, or asks them, inside TLS only."""
    program, arguments = Path(command[0]).name, command[1:]
    if program == "jangtq-worker":
        worker = settings_from(arguments)
        assert worker.tls is not None and not worker.listen.is_loopback
    else:
        assert (program, arguments[0]) == ("jangtq-coord", "serve")
        given = parser().parse_args(arguments)
        assert serve_settings(given).host == "127.0.0.1"
        assert cluster_settings(given).tls is not None


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
