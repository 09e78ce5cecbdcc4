"""Folders of certificates for tests, made as a user makes them, and what their clients show and hear."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from jangtq_coordinator.cli.certs import make_certificates
from jangtq_coordinator.cli.command_settings import CertsSettings, parse_names
from jangtq_coordinator.pki.authority import Authority, PemPair
from jangtq_proto.addresses import Address
from jangtq_proto.tls.certificates import Role
from jangtq_proto.tls.credentials import AUTHORITIES_FILE, CERTIFICATE_FILE, KEY_FILE, Credentials
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.v1 import expert_pb2_grpc

HERE = "127.0.0.1"
SECONDS = 20


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

    def coordinators_channel(self, address: Address) -> grpc.Channel:
        """To a worker, from a client that shows the coordinator's certificate."""
        shown = client_credentials(self.coordinator, pems_in(self.coordinator))
        return grpc.secure_channel(str(address), shown)


def make_folders(root: Path, name: str = HERE) -> Folders:
    make_certificates(CertsSettings(root, parse_names(name)))
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


class YearsLater(datetime):
    """A clock by which every certificate expired."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "YearsLater":
        return cls.fromtimestamp(time.time() + 30 * 365 * 86_400, tz)


def assert_nothing_is_said(channel: grpc.Channel) -> None:
    """Whatever is asked, the connection fails, and nothing else."""
    service = expert_pb2_grpc.ExpertServiceStub(channel)
    health = health_pb2_grpc.HealthStub(channel)
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    questions: dict[str, Callable[[], object]] = {
        "Describe": lambda: service.Describe(pb.DescribeRequest(), timeout=SECONDS),
        "OpenExpress": lambda: service.OpenExpress(pb.OpenExpressRequest(), timeout=SECONDS),
        "Forward": lambda: list(service.Forward(iter([pb.Frame()]), timeout=SECONDS)),
        "Health": lambda: health.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS),
        "Reflection": lambda: list(
            reflection.ServerReflectionInfo(
                iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=SECONDS
            )
        ),
    }
    for name, question in questions.items():
        with pytest.raises(grpc.RpcError) as caught:
            question()
        assert isinstance(caught.value, grpc.Call)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE, name
        assert not caught.value.initial_metadata() and not caught.value.trailing_metadata(), name
