"""gRPC's view of a worker's certificates: read for each connection that comes in. Knows no address."""

import grpc

from jangtq_proto.credentials import Credentials, TlsFiles


def server_credentials(credentials: Credentials) -> grpc.ServerCredentials:
    """Demands a certificate of everybody, and takes up changed files with the next connection."""
    shown = _Shown(credentials)
    return grpc.dynamic_ssl_server_credentials(
        _configuration(shown.files),
        shown.changed,  # type: ignore[arg-type]  # None is allowed, and says that nothing changed
        require_client_authentication=True,
    )


class _Shown:
    """What gRPC was told last."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self.files = credentials.current()

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """What gRPC was not told yet."""
        files = self._credentials.current()
        if files is self.files:
            return None
        self.files = files
        return _configuration(files)


def _configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(files.key, files.certificate)], files.authorities)
