"""Tries a TLS handshake with a worker to say why it fails, which gRPC does not. Knows no calls."""

import socket
import ssl
from contextlib import closing
from typing import Final

from cryptography import x509

from jangtq_proto.addresses import Address
from jangtq_proto.errors import ConfigurationError, WorkerUnreachableError
from jangtq_proto.tls.certificates import check_time
from jangtq_proto.tls.credentials import Credentials, TlsFiles

_SECONDS: Final = 2.0


def check_handshake(address: Address, credentials: Credentials | None) -> None:
    """Raises WorkerUnreachableError that says which side refuses what; returns if there is no answer."""
    if address.is_unix:
        return
    try:
        with socket.create_connection((address.host, address.port), timeout=_SECONDS) as connection:
            if credentials is None:
                reason = _demand(connection)
            else:
                reason = _refusal(connection, credentials.current(), address.host)
    except (TimeoutError, OSError):
        return
    if reason is not None:
        raise WorkerUnreachableError(f"worker {address}: {reason}")


def _demand(connection: socket.socket) -> str | None:
    """Whether the other side starts a handshake; nothing is verified or revealed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        context.wrap_socket(connection).close()
    except OSError:
        return None
    return "it demands TLS: give --tls DIR with a coordinator's certificate"


def _refusal(connection: socket.socket, files: TlsFiles, host: str) -> str | None:
    """With TLS 1.3 only the first read shows a client whether the server accepts its certificate."""
    try:
        encrypted = files.context.wrap_socket(connection, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is refused here: {error.verify_message}"
    except (ssl.SSLError, ConnectionError) as error:
        return f"it does not speak TLS 1.3 ({error}): was that worker started with --tls?"
    with closing(encrypted):
        try:
            heard = encrypted.recv(1)
        except (ssl.SSLError, ConnectionError):
            heard = b""
    if heard:
        return None
    return f"it refuses our certificate: {_problem(files.certificate)}"


def _problem(certificate: bytes) -> str:
    """The problem as seen from this side: gRPC closes the connection without a reason."""
    try:
        check_time(x509.load_pem_x509_certificates(certificate)[0])
    except ConfigurationError as error:
        return str(error)
    return "it is of an authority not trusted there (any more), or expired by the clock there"
