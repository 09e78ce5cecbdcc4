"""A private authority, and the certificates that it issues for workers and coordinators. Opens no file."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from jangtq_coordinator.pki.lifetimes import AUTHORITY_DAYS
from jangtq_proto.addresses import is_ip_address
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.tls.certificates import KEY_USAGE, Role

_CLOCK_SKEW: Final = timedelta(hours=1)
_ORGANIZATION: Final = "jangtq-cluster"
_HOST_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")


class PemPair(NamedTuple):
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True)
class Subject:
    """The subject of a certificate: host names or IP addresses; the first is its name."""

    role: Role
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in self.names:
            if not is_ip_address(name) and (len(name) > 253 or not _HOST_NAME.fullmatch(name)):
                raise ConfigurationError(
                    f"name {name!r}: write host names or IP addresses, several of one machine joined by +"
                )

    @property
    def folder(self) -> str:
        """The name of its folder."""
        name = self.names[0].replace(":", "-")
        return name if name == self.role else f"{self.role}-{name}"

    def __str__(self) -> str:
        return f"{self.role} {'+'.join(self.names)}"


@dataclass(frozen=True)
class Authority:
    """The self-signed certificate, and the key that signs others."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls) -> "Authority":
        """Valid for ten years. Each has a name of its own, so that two differ."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"authority {x509.random_serial_number():040x}"[:30])
        builder = _builder(name, key.public_key(), timedelta(days=AUTHORITY_DAYS)).issuer_name(name)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, pems: PemPair) -> "Authority":
        """Raises ConfigurationError."""
        try:
            key = load_pem_private_key(pems.key, password=None)
            certificate = x509.load_pem_x509_certificate(pems.certificate)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"no authority's certificate and key: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise ConfigurationError("the authority's certificate and key do not belong together")
        return cls(certificate, key)

    @property
    def pems(self) -> PemPair:
        return _pems(self.certificate, self.key)

    def issue(self, subject: Subject, *, days: int) -> PemPair:
        """A new key and its certificate. Raises ConfigurationError if it would outlive the authority."""
        if datetime.now(UTC) + timedelta(days=days) > self.certificate.not_valid_after_utc:
            end = self.certificate.not_valid_after_utc
            raise ConfigurationError(
                f"--days {days}: the authority itself ends on {end:%Y-%m-%d}; take fewer, or make --new-ca"
            )
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(subject.names[0], subject.role), key.public_key(), timedelta(days=days))
        certificate = (
            builder.issuer_name(self.certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([KEY_USAGE[subject.role]]), critical=False)
            .add_extension(_alternative_names(subject.names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
            .sign(self.key, hashes.SHA256())
        )
        return _pems(certificate, key)

    def issued(self, certificate: x509.Certificate) -> bool:
        """Whether this authority signed a certificate."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True


def subject_of(certificate: x509.Certificate) -> Subject:
    """The subject of a certificate of this project. Raises ConfigurationError for any other."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        role = next(role for role, wanted in KEY_USAGE.items() if wanted in usage)
    except (x509.ExtensionNotFound, StopIteration) as error:
        found = certificate.subject.rfc4514_string()
        raise ConfigurationError(
            f"the certificate of {found} was not made by `jangtq-coord certs`"
        ) from error
    return Subject(role, tuple(str(name.value) for name in names))


def _builder(
    name: x509.Name, public_key: ec.EllipticCurvePublicKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _name(common_name: str, role: Role | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANIZATION)]
    if role is not None:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role.value))
    attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64]))
    return x509.Name(attributes)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(names: Iterable[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [x509.IPAddress(ipaddress.ip_address(n)) if is_ip_address(n) else x509.DNSName(n) for n in names]
    )


def _pems(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> PemPair:
    return PemPair(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
