"""Options that the commands of worker and coordinator share, so that they read alike."""

import argparse
import os
from pathlib import Path

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
