"""`jangtq-coord certs`: makes and renews the certificates of a cluster, and says what to copy where."""

import ipaddress
from pathlib import Path

from jangtq_coordinator.cli.command_settings import CertsSettings
from jangtq_coordinator.pki.authority import Authority, Subject
from jangtq_coordinator.pki.certificate_folder import CertificateFolder
from jangtq_proto.addresses import parse_address
from jangtq_proto.tls.certificates import Role

_ANY_PORT = 1


def make_certificates(settings: CertsSettings) -> None:
    """Make the certificates and print what to copy where. Raises ConfigurationError."""
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
    """The requested subjects; the first run adds a coordinator by itself."""
    name = settings.coordinator or (None if there else Role.COORDINATOR.value)
    coordinators = (Subject(Role.COORDINATOR, (name,)),) if name else ()
    workers = (Subject(Role.WORKER, tuple(map(_host, names))) for names in settings.workers)
    return (*coordinators, *workers)


def _host(name: str) -> str:
    """The host of a name; a port is allowed, so that the list for `serve` can be given."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return parse_address(name, default_port=_ANY_PORT).host


def _report(folder: CertificateFolder, subjects: list[Subject]) -> None:
    root = folder.root
    print(f"{root / 'authority'} stays here: its key can make certificates")
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
