"""The command line's options for the API, and the settings they become."""

import argparse
from pathlib import Path

from jangtq_coordinator.cli.engine_options import add_engine, engine_settings
from jangtq_coordinator.config import ConnectionLimits, ServeSettings
from jangtq_coordinator.logs import LogFormat
from jangtq_proto.options import add_lifeline


def add_serve(command: argparse.ArgumentParser) -> None:
    """What `serve` needs to know beyond its cluster."""
    defaults = ServeSettings()
    command.add_argument("--host", default=defaults.host, help="where the API listens (default: %(default)s)")
    command.add_argument(
        "--port", type=int, default=defaults.port, help="its port; 0 takes a free one (default: %(default)s)"
    )
    command.add_argument(
        "--insecure", action="store_true", help="allow an address that other machines reach, without a key"
    )
    _add_access(command)
    _add_limits(command, defaults)
    add_engine(command)
    command.add_argument(
        "--log-format",
        type=LogFormat,
        choices=tuple(LogFormat),
        default=LogFormat.TEXT,
        metavar="{" + ",".join(LogFormat) + "}",
        help="what log lines look like (default: %(default)s)",
    )
    add_lifeline(command)


def add_api_keys(command: argparse.ArgumentParser, *, required: bool) -> None:
    """--api-keys."""
    command.add_argument(
        "--api-keys",
        type=Path,
        required=required,
        metavar="FILE",
        help="hashes of the keys that let clients in",
    )


def _add_access(command: argparse.ArgumentParser) -> None:
    add_api_keys(command, required=False)
    command.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="a site whose pages may call, such as https://chat.example; may be repeated (default: none)",
    )
    command.add_argument(
        "--tls-cert", type=Path, metavar="FILE", help="serve HTTPS with this certificate chain"
    )
    command.add_argument("--tls-key", type=Path, metavar="FILE", help="the certificate's private key")


def _add_limits(command: argparse.ArgumentParser, defaults: ServeSettings) -> None:
    command.add_argument(
        "--max-body-bytes",
        type=int,
        default=defaults.max_body_bytes,
        metavar="N",
        help="the largest request body (default: %(default)s)",
    )
    command.add_argument(
        "--max-connections",
        type=int,
        default=defaults.limits.most,
        metavar="N",
        help="connections that may be open at once (default: %(default)s)",
    )
    command.add_argument(
        "--request-timeout",
        type=float,
        default=defaults.limits.request_seconds,
        metavar="SECONDS",
        help="how long a request may take to arrive (default: %(default)g)",
    )
    command.add_argument(
        "--stalled-timeout",
        type=float,
        default=defaults.limits.stalled_seconds,
        metavar="SECONDS",
        help="how long a client may read nothing of its answer (default: %(default)g)",
    )


def serve_settings(given: argparse.Namespace) -> ServeSettings:
    """The API's part of a command line. Raises ConfigurationError."""
    return ServeSettings(
        host=given.host,
        port=given.port,
        insecure=given.insecure,
        engine=engine_settings(given),
        api_keys=given.api_keys,
        allowed_origins=tuple(given.allow_origin),
        tls_certificate=given.tls_cert,
        tls_key=given.tls_key,
        limits=ConnectionLimits(
            most=given.max_connections,
            request_seconds=given.request_timeout,
            stalled_seconds=given.stalled_timeout,
        ),
        max_body_bytes=given.max_body_bytes,
    )
