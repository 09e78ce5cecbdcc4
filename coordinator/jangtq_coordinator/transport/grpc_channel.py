"""gRPC channels to workers, encrypted where there are certificates. Knows no calls."""

import threading
import time
from typing import Final

import grpc

from jangtq_coordinator.transport.tls_probe import check_handshake
from jangtq_proto.addresses import Address
from jangtq_proto.timings import TIMINGS
from jangtq_proto.tls.credentials import Credentials, TlsFiles
from jangtq_proto.wire.codec import NO_COMPRESSION, message_limit

_RESOLUTION_MS: Final = 1000
"""gRPC looks a name up again after half a minute at the earliest, unless told otherwise."""


class WorkerChannel:
    """The channel to one address; replaced when the certificate files change. Thread-safe."""

    def __init__(self, address: Address, hidden_size: int, credentials: Credentials | None) -> None:
        """A Unix socket stays plain: its folder's mode says who may connect."""
        self._address = address
        self._hidden_size = hidden_size
        self._credentials = None if address.is_unix else credentials
        self._lock = threading.Lock()
        self._files = self._read_files()
        self._channel = open_channel(str(self._address), hidden_size, self._files)
        self._old: list[grpc.Channel] = []
        self._look_at = 0.0
        self._is_outdated = False

    def current(self) -> grpc.Channel:
        """The channel for new calls; a stream on an older one goes on."""
        with self._lock:
            files = self._read_files()
            if files is not self._files:
                self._old.append(self._channel)
                self._files, self._is_outdated = files, False
                self._channel = open_channel(str(self._address), self._hidden_size, files)
            return self._channel

    def is_outdated(self) -> bool:
        """Whether the files changed since the channel was opened; looks once a second at most."""
        now = time.monotonic()
        if self._credentials is not None and now >= self._look_at:
            self._look_at = now + TIMINGS.certificate_check
            self._is_outdated = self._read_files() is not self._files
        return self._is_outdated

    def check(self, *, failed: bool = False) -> None:
        """Raises WorkerUnreachableError if TLS is the problem; a plain channel looks only after a failure."""
        if failed or self._credentials is not None:
            check_handshake(self._address, self._credentials)

    def close_old(self) -> None:
        """Close replaced channels; call it when no stream is open."""
        with self._lock:
            old, self._old = self._old, []
        for channel in old:
            channel.close()

    def close(self) -> None:
        self.close_old()
        self._channel.close()

    def _read_files(self) -> TlsFiles | None:
        return None if self._credentials is None else self._credentials.current()


def open_channel(target: str, hidden_size: int, files: TlsFiles | None = None) -> grpc.Channel:
    """A channel of its own; with files, the worker must hold a certificate for the target's name."""
    limit = message_limit(hidden_size)
    options = [
        ("grpc.max_receive_message_length", limit),
        ("grpc.max_send_message_length", limit),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.dns_min_time_between_resolutions_ms", _RESOLUTION_MS),
        ("grpc.enable_http_proxy", 0),
        ("grpc.compression_enabled_algorithms_bitset", NO_COMPRESSION),
    ]
    if files is None:
        return grpc.insecure_channel(target, options=options)
    credentials = grpc.ssl_channel_credentials(files.authorities, files.key, files.certificate)
    return grpc.secure_channel(target, credentials, options=options)
