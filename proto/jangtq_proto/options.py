"""Options that the commands of worker and coordinator share, so that they read alike."""

import argparse
import os
from pathlib import Path

from jangtq_proto.errors import ConfigurationError

MOST_POLL_US = 100_000
MODEL_VARIABLE = "JANGTQ_MODEL"
DEVICES = ("auto", "metal", "cpu", "reference")


def add_model(command: argparse.ArgumentParser) -> None:
    """--model, with its default from the environment."""
    command.add_argument(
        "--model",
        type=Path,
        required=MODEL_VARIABLE not in os.environ,
        default=os.environ.get(MODEL_VARIABLE),
        metavar="DIR",
        help=f"the JANGTQ bundle on this machine (default: the environment variable {MODEL_VARIABLE})",
    )


def add_device(command: argparse.ArgumentParser) -> None:
    """--device and --threads."""
    command.add_argument(
        "--device",
        choices=DEVICES,
        default="auto",
        help="what computes experts: auto is metal, else cpu, else the slow reference (default: %(default)s)",
    )
    command.add_argument(
        "--threads", type=int, metavar="N", help="threads of the cpu device (default: all cores)"
    )


def add_lifeline(command: argparse.ArgumentParser) -> None:
    """--stop-on-stdin-close."""
    command.add_argument(
        "--stop-on-stdin-close", action="store_true", help="end when standard input is closed"
    )


def add_poll(command: argparse.ArgumentParser) -> None:
    """--poll-us."""
    command.add_argument(
        "--poll-us",
        type=int,
        default=0,
        metavar="N",
        help="look for the next message of the express transport for N microseconds before sleeping; "
        "faster where each process has a core to itself, slower elsewhere; for workers and coordinator alike "
        "(default: %(default)s)",
    )


def check_poll_us(poll_us: int) -> None:
    """Raises ConfigurationError."""
    if not 0 <= poll_us <= MOST_POLL_US:
        raise ConfigurationError(f"--poll-us {poll_us}: allowed are 0 to {MOST_POLL_US} microseconds")


def add_tls(command: argparse.ArgumentParser) -> None:
    """--tls."""
    command.add_argument(
        "--tls",
        type=Path,
        metavar="DIR",
        help="call over TLS, and show and demand certificates: ca.pem, cert.pem and key.pem in DIR, "
        "one of the folders that `jangtq-coord certs` makes, of which each is for one program",
    )
