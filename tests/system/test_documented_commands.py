"""The commands by which README.md and deploy/README.md start a cluster, taken as they stand."""

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509

from jangtq_bundle.cli.main import program as bundle_program
from jangtq_coordinator.cli.certs import make_certificates
from jangtq_coordinator.cli.command_settings import CertsSettings
from jangtq_coordinator.cli.main import program
from jangtq_coordinator.config import ClusterSettings
from jangtq_proto.tls.certificates import Role
from jangtq_proto.tls.credentials import CERTIFICATE_FILE, Credentials
from jangtq_worker.cli import command_line
from jangtq_worker.settings import WorkerSettings
from tests.support.paths import ROOT

COORDINATORS_HOST = "10.0.0.1"
STARTING = ("certs", "serve", "generate")
"""The commands of jangtq-coord that make a cluster."""
PAGES = (ROOT / "README.md", ROOT / "deploy/README.md", *sorted((ROOT / "docs").glob("*.md")))


def commands_in(page: Path) -> Iterator[list[str]]:
    """Each indented command line of ours, and of rsync, in order."""
    text = page.read_text().replace("\\\n", " ")
    for line in re.findall(r"^ {4}((?:jangtq-\S+|rsync) .*)$", text, re.MULTILINE):
        words = shlex.split(line, comments=True)
        if words[0] != "jangtq-coord" or words[1] in STARTING:
            yield words


class Machines:
    """A home folder for each host, which `~` stands for in the commands that are typed there."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.started: list[str] = []

    def home(self, host: str) -> Path:
        folder = self._root / host
        folder.mkdir(exist_ok=True)
        return folder

    def do(self, typed: str, arguments: list[str]) -> None:
        """Make and copy folders; of what would run, read the command line and the certificates."""
        if typed == "jangtq-worker":
            host = arguments[arguments.index("--listen") + 1].partition(":")[0]
            worker = command_line().read(self._at(host, arguments))[WorkerSettings]
            assert worker.tls is not None
            Credentials(worker.tls, Role.WORKER)
            assert self._name_in(worker.tls) == host
        elif typed == "jangtq-bundle":
            bundle_program().read(arguments)
            return
        elif typed == "rsync":
            source, target = self._at(COORDINATORS_HOST, arguments[1:])
            host, _, folder = target.partition(":")
            shutil.copytree(source, self.home(host) / folder)
        else:
            self._coordinate(self._at(COORDINATORS_HOST, arguments))
        self.started.append(typed if typed != "jangtq-coord" else arguments[0])

    def _coordinate(self, arguments: list[str]) -> None:
        command, given = program().read(arguments)
        if command == "certs":
            make_certificates(given[CertsSettings])
        else:
            settings = given[ClusterSettings]
            assert settings.tls is not None
            Credentials(settings.tls, Role.COORDINATOR)

    def _at(self, host: str, arguments: list[str]) -> list[str]:
        return [re.sub(r"^~", str(self.home(host)), argument) for argument in arguments]

    def _name_in(self, folder: Path) -> str:
        certificate = x509.load_pem_x509_certificate((folder / CERTIFICATE_FILE).read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return str(names[0].value)


@pytest.mark.parametrize(
    ("page", "workers"), [("README.md", 2), ("deploy/README.md", 1)], ids=["README", "deploy"]
)
def test_a_cluster_starts_as_it_is_written(page: str, workers: int, tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    for command, *arguments in commands_in(ROOT / page):
        machines.do(command, arguments)
    assert machines.started == ["certs", "rsync", *["jangtq-worker"] * workers, "serve", "generate"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_line_is_understood(page: Path) -> None:
    programs: dict[str, Callable[[list[str]], object]] = {
        "jangtq-coord": program().read,
        "jangtq-bundle": bundle_program().read,
        "jangtq-worker": command_line().read,
    }
    text = page.read_text().replace("\\\n", " ")
    for line in re.findall(r"^ {4}(?:\.venv/bin/)?(jangtq-\S+ .*)$", text, re.MULTILINE):
        name, *words = shlex.split(line, comments=True)
        programs[name](words)
