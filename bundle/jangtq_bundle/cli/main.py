"""`jangtq-bundle`: the command line that gets, makes, checks and cuts bundles."""

import logging
import sys
from collections.abc import Sequence
from typing import Final

from jangtq_bundle.cli.command_settings import (
    ConvertSettings,
    GetSettings,
    InfoSettings,
    SliceSettings,
    VerifySettings,
)
from jangtq_kernels.errors import BackendMissingError
from jangtq_proto.command_line import Chosen, Command, Program
from jangtq_proto.errors import JangtqError

_PROGRAM: Final = "jangtq-bundle"
_MODEL: Final = "JANGQ-AI/MiniMax-M2.7-JANGTQ"


def _get(given: Chosen) -> None:
    from jangtq_bundle.cli.get import get

    get(given[GetSettings])


def _slice(given: Chosen) -> None:
    from jangtq_bundle.cli.cut import cut

    cut(given[SliceSettings])


def _convert(given: Chosen) -> None:
    from jangtq_bundle.cli.make import make

    make(given[ConvertSettings])


def _verify(given: Chosen) -> None:
    from jangtq_bundle.cli.verify import verify

    verify(given[VerifySettings])


def _info(given: Chosen) -> None:
    from jangtq_bundle.cli.info import show_info

    show_info(given[InfoSettings])


COMMANDS: Final = {
    "get": Command(
        "fetch a published bundle, or the part that one machine needs",
        (f"{_PROGRAM} get {_MODEL} --experts 0-127", f"{_PROGRAM} get {_MODEL} --coordinator --to ~/minimax"),
        (GetSettings,),
        _get,
        "ORG/NAME",
    ),
    "slice": Command(
        "cut the part that one machine needs out of a bundle",
        (
            f"{_PROGRAM} slice ~/MiniMax-M2.7-JANGTQ ~/worker-a --experts 0-127",
            f"{_PROGRAM} slice ~/MiniMax-M2.7-JANGTQ ~/coordinator --coordinator",
        ),
        (SliceSettings,),
        _slice,
        "DIR OUT",
    ),
    "convert": Command(
        "make a bundle of a Hugging Face checkpoint (FP8, bf16 or fp16); goes on where it was interrupted",
        (
            f"{_PROGRAM} convert ~/MiniMax-M2.7 ~/MiniMax-M2.7-JANGTQ",
            f"{_PROGRAM} convert ~/MiniMax-M2.7 ~/MiniMax-M2.7-JANGTQ_K --profile JANGTQ_K",
        ),
        (ConvertSettings,),
        _convert,
        "SRC OUT",
    ),
    "verify": Command(
        "read every byte of a bundle and check shapes, norms, codebooks and hashes",
        (f"{_PROGRAM} verify ~/MiniMax-M2.7-JANGTQ", f"{_PROGRAM} verify ~/out --source ~/MiniMax-M2.7"),
        (VerifySettings,),
        _verify,
        "DIR",
    ),
    "info": Command(
        "say what a bundle holds and how much memory a split of it takes",
        (f"{_PROGRAM} info ~/MiniMax-M2.7-JANGTQ", f"{_PROGRAM} info ~/worker-a"),
        (InfoSettings,),
        _info,
        "DIR",
    ),
}


def program() -> Program:
    """`jangtq-bundle` with its commands."""
    return Program(
        _PROGRAM,
        COMMANDS,
        description="Get, make, check and cut bundles of JANGTQ models.",
        examples=tuple(command.examples[0] for command in COMMANDS.values()),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 after a clean end, 1 for an unsound bundle, 2 for mistakes, 130 when interrupted."""
    name, given = program().read(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        COMMANDS[name].run(given)
    except (JangtqError, BackendMissingError) as error:
        print(f"{_PROGRAM}: {error}", file=sys.stderr)
        return 1 if name == "verify" else 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0
