"""Folders of certificates for tests, made as a user makes them, and what their clients and servers show."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from jangtq_coordinator.authority import Authority, PemPair
from jangtq_coordinator.certs import CertsSettings, make_certificates, parse_workers
from jangtq_proto.certificates import Role
from jangtq_proto.credentials import AUTHORITIES_FILE, CERTIFICATE_FILE, KEY_FILE, Credentials

HERE = "127.0.0.1"


@dataclass(frozen=True)
class Folders:
    """What `jangtq-coord certs` keeps in one folder, for one worker and one coordinator."""

    root: Path
    name: str

    @property
    def worker(self) -> Path:
        return self.root / f"worker-{self.name}"

    @property
    def coordinator(self) -> Path:
        return self.root / "coordinator"

    def change(self, *, renew: bool = False, new_authority: bool = False, drop_old: bool = False) -> None:
        make_certificates(
            CertsSettings(self.root, renew=renew, new_authority=new_authority, drop_old=drop_old)
        )

    def coordinators_credentials(self) -> Credentials:
        return Credentials(self.coordinator, Role.COORDINATOR)


def make_folders(root: Path, name: str = HERE) -> Folders:
    make_certificates(CertsSettings(root, parse_workers(name)))
    return Folders(root, name)


def pems_in(folder: Path) -> PemPair:
    return PemPair((folder / CERTIFICATE_FILE).read_bytes(), (folder / KEY_FILE).read_bytes())


def client_credentials(authorities: Path, pems: PemPair | None) -> grpc.ChannelCredentials:
    """Of a client that trusts a folder's authorities and shows any certificate, or none."""
    trusted = (authorities / AUTHORITIES_FILE).read_bytes()
    return grpc.ssl_channel_credentials(trusted, *((pems.key, pems.certificate) if pems else (None, None)))


def expired(folders: Folders, folder: Path) -> PemPair:
    """The same certificate with the same key, signed by the same authority for days that are over."""
    authority_folder = folders.root / "authority"
    authority = Authority.load(pems_in(authority_folder))
    pems = pems_in(folder)
    good = x509.load_pem_x509_certificate(pems.certificate)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(good.subject)
        .issuer_name(good.issuer)
        .public_key(good.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=3))
        .not_valid_after(now - timedelta(days=1))
    )
    for extension in good.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    certificate = builder.sign(authority.key, hashes.SHA256())
    return PemPair(certificate.public_bytes(Encoding.PEM), pems.key)
