"""Installs clients in environments of their own, runs each against a server, and prints one table.

    python -m clients [--quick] [NAME ...]

Environments stay in .clients/ for the next run; `--newest` upgrades them. Each client gets a new home folder.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clients.clients import CLIENTS, Client, Place
from jangtq_coordinator.cli.demo.processes import Children

_ROOT = Path(__file__).parent.parent
_INSTALLED = _ROOT / ".clients"
_PROBES = Path(__file__).parent / "probes"
_MODEL = "stand-in"
_QUIET = {
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NO_COLOR": "1",
}


@dataclass(frozen=True)
class Outcome:
    """What came of a client; an empty failure means that it works."""

    client: Client
    version: str
    seconds: float
    failure: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [client.name for client in CLIENTS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="only the few that CI runs")
    parser.add_argument("--newest", action="store_true", help="upgrade what is installed already")
    given = parser.parse_args()
    if unknown := set(given.names) - set(names):
        parser.error(f"no client {sorted(unknown)[0]!r}: there are {', '.join(names)}")
    chosen = [c for c in CLIENTS if c.name in (given.names or names) and (c.quick or not given.quick)]
    with Children() as children:
        url = children.start("stand-in", "clients.stand_in", []).listening()
        outcomes = [_try(client, url, newest=given.newest) for client in chosen]
    print(_table(outcomes))
    return int(any(outcome.failure for outcome in outcomes))


def _try(client: Client, url: str, *, newest: bool) -> Outcome:
    """Install and run one; whatever goes wrong is its outcome."""
    print(f"{client.name} ...", flush=True)
    installed = _INSTALLED / ("npm" if client.npm else "venv") / client.name
    started = time.monotonic()
    try:
        _install(client, installed, newest=newest)
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"{client.name}-", ignore_cleanup_errors=True) as home:
            failure = _run(client, Place(url, _MODEL, installed, Path(home)))
    except subprocess.SubprocessError as error:
        failure = f"installation: {error}"
    return Outcome(client, _version(client, installed), time.monotonic() - started, failure)


def _install(client: Client, installed: Path, *, newest: bool) -> None:
    if installed.exists() and not newest:
        return
    installed.mkdir(parents=True, exist_ok=True)
    if client.npm:
        command = [
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            "--prefix",
            str(installed),
        ]
        subprocess.run([*command, *(f"{name}@latest" for name in client.packages)], check=True, timeout=900)
        return
    if not (installed / "bin").exists():
        subprocess.run([sys.executable, "-m", "venv", str(installed)], check=True, timeout=120)
    pip = [str(installed / "bin/python"), "-m", "pip", "install", "-q", "--upgrade"]
    subprocess.run([*pip, *client.packages], check=True, timeout=900)


def _run(client: Client, place: Place) -> str:
    """Empty where the client works; else the step or the words that it failed with."""
    place.work.mkdir()
    (place.work / "colour.txt").write_text("red\n")
    if client.npm and not client.agent:
        shutil.copytree(_PROBES, place.installed / "probes", dirs_exist_ok=True)
    client.prepare(place)
    try:
        ended = subprocess.run(
            client.command(place),
            cwd=place.work,
            env=_environment(client, place),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "not over after 300 s"
    said = f"{ended.stdout}\n{ended.stderr}"
    if client.agent and (place.work / "colour.txt").read_text() != "blue\n":
        return f"the file was not changed: {_end_of(said)}"
    if ended.returncode or client.answer not in said:
        return f"{_open_step(said)}{_end_of(said)}"
    return ""


def _environment(client: Client, place: Place) -> dict[str, str]:
    """Nothing of the user's own but where programs and certificates are."""
    kept = ("PATH", "LANG", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    own = {name: os.environ[name] for name in kept if name in os.environ}
    server = {"CLIENTS_URL": place.url, "CLIENTS_MODEL": place.model, "HOME": str(place.home)}
    return own | _QUIET | server | dict(client.environment(place))


def _open_step(said: str) -> str:
    """The step that began and did not end."""
    lines = said.splitlines()
    begun = [line.removeprefix("step ") for line in lines if line.startswith("step ")]
    unfinished = [name for name in begun if f"ok {name}" not in lines]
    return f"step {unfinished[0]}: " if unfinished else ""


def _end_of(said: str) -> str:
    return " ".join(said.split())[-200:]


def _version(client: Client, installed: Path) -> str:
    """Of the package that names the client."""
    name = client.packages[0].partition("[")[0]
    if client.npm:
        package = installed / "node_modules" / name / "package.json"
        return str(json.loads(package.read_text())["version"]) if package.exists() else "-"
    ask = f"import importlib.metadata as m; print(m.version({name!r}))"
    told = subprocess.run(
        [str(installed / "bin/python"), "-c", ask], capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "-"


def _table(outcomes: Sequence[Outcome]) -> str:
    rows = [
        f"| {one.client.name:16} | {one.version:10} | {one.seconds:4.0f} s | {one.failure or 'ok'} |"
        for one in outcomes
    ]
    head = f"| {'client':16} | {'version':10} | {'time':6} | result |"
    line = f"|{'-' * 18}|{'-' * 12}|{'-' * 8}|--------|"
    return "\n".join(["", head, line, *rows])


if __name__ == "__main__":
    sys.exit(main())
