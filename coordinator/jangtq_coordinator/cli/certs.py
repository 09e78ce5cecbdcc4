"""`jangtq-coord certs`: makes and renews the certificates of a cluster, and says what to copy where."""

import argparse
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from jangtq_coordinator.pki.authority import AUTHORITY_DAYS, Authority, Subject
from jangtq_coordinator.pki.certificate_folder import CertificateFolder
from jangtq_proto.addresses import parse_address
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.tls.certificates import Role

_ANY_PORT = 1


@dataclass(frozen=True)
class CertsSettings:
    """What to make. Certificates that are there already stay, unless they are to be renewed."""

    folder: Path
    workers: tuple[Subject, ...] = ()
    coordinator: str | None = None
    days: int = 365
    renew: bool = False
    new_authority: bool = False
    drop_old: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.days <= AUTHORITY_DAYS:
            raise ConfigurationError(f"--days {self.days}: allowed are 1 to {AUTHORITY_DAYS}")


def add_certs(command: argparse.ArgumentParser) -> None:
    """The options of `jangtq-coord certs`."""
    command.add_argument("folder", type=Path, metavar="DIR", help="where to keep authority and certificates")
    command.add_argument(
        "--workers",
        default="",
        metavar="HOST,...",
        help="workers, by the names or addresses that the coordinator calls; join several of one by +",
    )
    command.add_argument("--coordinator", metavar="NAME", help="name of a coordinator (default: coordinator)")
    command.add_argument(
        "--days", type=int, default=365, metavar="N", help="how long they are good (default: %(default)s)"
    )
    command.add_argument("--renew", action="store_true", help="make all certificates in DIR anew")
    command.add_argument(
        "--new-ca", action="store_true", help="change the authority: first step, both are trusted"
    )
    command.add_argument(
        "--drop-old-ca", action="store_true", help="last step, after --renew: what the old one signed is void"
    )


def certs_settings(given: argparse.Namespace) -> CertsSettings:
    """Raises ConfigurationError."""
    return CertsSettings(
        folder=given.folder,
        workers=parse_workers(given.workers),
        coordinator=given.coordinator,
        days=given.days,
        renew=given.renew,
        new_authority=given.new_ca,
        drop_old=given.drop_old_ca,
    )


def parse_workers(text: str) -> tuple[Subject, ...]:
    """Read HOST+ALIAS,...; a port is allowed, so that the list for `serve` can be given."""
    return tuple(
        Subject(Role.WORKER, tuple(_host(name) for name in part.split("+")))
        for part in text.split(",")
        if part.strip()
    )


def make_certificates(settings: CertsSettings) -> None:
    """Do what was asked and print what to copy where. Raises ConfigurationError."""
    folder = CertificateFolder(settings.folder)
    authority = _authority(folder, settings)
    there = {subject.folder: subject for subject in folder.subjects()}
    wanted = there | {subject.folder: subject for subject in _asked_for(settings, there)}
    made = [s for s in wanted.values() if settings.renew or there.get(s.folder) != s]
    for subject in made:
        folder.store(subject, authority.issue(subject, days=settings.days))
    if settings.drop_old:
        folder.drop_old(authority)
    folder.spread_trust()
    _report(folder, list(wanted.values()))


def _authority(folder: CertificateFolder, settings: CertsSettings) -> Authority:
    authority = folder.authority()
    if authority is None or settings.new_authority:
        authority = Authority.create()
        folder.replace_authority(authority)
    return authority


def _asked_for(settings: CertsSettings, there: dict[str, Subject]) -> tuple[Subject, ...]:
    """A coordinator comes by itself with the first certificates."""
    name = settings.coordinator or (None if there else Role.COORDINATOR.value)
    coordinators = (Subject(Role.COORDINATOR, (name,)),) if name else ()
    return (*coordinators, *settings.workers)


def _host(name: str) -> str:
    name = name.strip()
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return parse_address(name, default_port=_ANY_PORT).host


def _report(folder: CertificateFolder, subjects: list[Subject]) -> None:
    root = folder.root
    print(f"{root / 'authority'} stays here: whoever has its key can make certificates")
    for subject in subjects:
        print(f"{root / subject.folder} is for {subject}, good until {folder.end_of(subject)}")
    print(
        "\nCopy each folder to its machine, readable by its owner only, and start with it; "
        "what is for this machine may stay where it is:"
    )
    for subject in subjects:
        for line in _instructions(subject, root / subject.folder):
            print(f"  {line}")
    print("What runs already takes the new files within seconds and ends connections that they do not allow.")
    if folder.trusts_two:
        print(
            "\nThe authority before this one is trusted, too. Once all folders are copied: --renew and copy "
            "them again, then --drop-old-ca and copy them a last time."
        )


def _instructions(subject: Subject, folder: Path) -> list[str]:
    if subject.role is Role.COORDINATOR:
        return [f"jangtq-coord serve --tls {folder} ..."]
    host = f"[{subject.names[0]}]" if ":" in subject.names[0] else subject.names[0]
    return [f"rsync -a {folder}/ {host}:jangtq-tls/", f"jangtq-worker --tls ~/jangtq-tls ...   (on {host})"]
