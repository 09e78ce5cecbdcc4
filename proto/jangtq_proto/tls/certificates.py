"""Checks of certificates: their role, and until when they are valid. Opens no file."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from jangtq_proto.errors import ConfigurationError


class Role(StrEnum):
    """What a certificate allows; TLS itself refuses one that is shown for the other."""

    WORKER = "worker"
    COORDINATOR = "coordinator"


KEY_USAGE: Final[dict[Role, ObjectIdentifier]] = {
    Role.WORKER: ExtendedKeyUsageOID.SERVER_AUTH,
    Role.COORDINATOR: ExtendedKeyUsageOID.CLIENT_AUTH,
}


def check_certificate(certificate: bytes, key: bytes, *, role: Role) -> datetime:
    """The end of a PEM certificate that fits its key and its role. Raises ConfigurationError."""
    try:
        first = x509.load_pem_x509_certificates(certificate)[0]
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"not a PEM certificate with its unencrypted key: {error}") from error
    if private.public_key() != first.public_key():
        raise ConfigurationError("certificate and key do not belong together")
    if KEY_USAGE[role] not in _key_usages(first):
        raise ConfigurationError(_other_use(_key_usages(first), role))
    check_time(first)
    return first.not_valid_after_utc


def refusal(certificate: x509.Certificate, authorities: bytes) -> str | None:
    """Why a certificate that was accepted before is refused now; None if it still is accepted."""
    try:
        check_time(certificate)
    except ConfigurationError as error:
        return str(error)
    if any(
        _is_issued_by(certificate, authority) for authority in x509.load_pem_x509_certificates(authorities)
    ):
        return None
    return "the certificate is of an authority that is not trusted any more"


def check_authorities(trusted: bytes) -> None:
    """Raises ConfigurationError unless these are PEM certificates of authorities."""
    try:
        authorities = x509.load_pem_x509_certificates(trusted)
    except ValueError as error:
        raise ConfigurationError(f"not PEM certificates: {error}") from error
    for authority in authorities:
        if not _is_authority(authority):
            name = authority.subject.rfc4514_string()
            raise ConfigurationError(f"the certificate of {name} is not an authority's")


def _other_use(usages: tuple[ObjectIdentifier, ...], wanted: Role) -> str:
    """The message about a certificate for another role."""
    for role in Role:
        if KEY_USAGE[role] in usages:
            return (
                f"the certificate is a {role}'s, and a {wanted}'s is wanted: each is good for one of them, "
                "and `jangtq-coord certs` makes a folder for each"
            )
    return f"the certificate is none of a {wanted}: it lacks the extended key usage for it"


def _is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False


def _key_usages(certificate: x509.Certificate) -> tuple[ObjectIdentifier, ...]:
    try:
        return tuple(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return ()


def check_time(certificate: x509.Certificate) -> None:
    """Raises ConfigurationError outside a certificate's time."""
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc < now:
        raise ConfigurationError(f"the certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if certificate.not_valid_before_utc > now:
        start = certificate.not_valid_before_utc
        raise ConfigurationError(f"the certificate is not good before {start:%Y-%m-%d %H:%M} UTC")
