"""The command line's options for the API, and the settings they become."""

import argparse

from jangtq_coordinator.settings import ServeSettings
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
    command.add_argument(
        "--batch-size",
        type=int,
        default=defaults.batch_size,
        metavar="N",
        help="sequences that share a step (default: %(default)s)",
    )
    command.add_argument(
        "--prefill-rows",
        type=int,
        default=defaults.prefill_rows,
        metavar="N",
        help="prompt tokens computed between two steps (default: %(default)s)",
    )
    add_lifeline(command)


def serve_settings(given: argparse.Namespace) -> ServeSettings:
    """The API's part of a command line. Raises ConfigurationError."""
    return ServeSettings(
        host=given.host,
        port=given.port,
        insecure=given.insecure,
        batch_size=given.batch_size,
        prefill_rows=given.prefill_rows,
    )
