"""`jangtq-worker`: the command line of a worker."""

import logging
import sys
from collections.abc import Sequence
from typing import Final

from jangtq_kernels.errors import BackendMissingError
from jangtq_proto.command_line import CommandLine, add_version
from jangtq_proto.errors import JangtqError
from jangtq_proto.open_files import raise_open_files
from jangtq_worker.settings import WorkerSettings

_PROGRAM: Final = "jangtq-worker"
_MODEL: Final = "--model ~/MiniMax-M2.7-JANGTQ"


def command_line() -> CommandLine:
    """The options of `jangtq-worker`."""
    line = CommandLine(
        _PROGRAM,
        WorkerSettings,
        description="Hold a slice of a JANGTQ model's routed experts and answer a coordinator's calls.\n\n"
        "Ranges of experts are closed: 0-127 holds 128 experts.\n"
        "Together the workers and the coordinator must hold every expert.",
        examples=(
            f"{_PROGRAM} {_MODEL} --experts 0-127",
            f"{_PROGRAM} {_MODEL} --experts 128-255 --listen 192.168.1.21:7700 --tls ~/jangtq-tls",
            f"{_PROGRAM} {_MODEL} --experts 0-63,128-191 --device cpu --threads 8",
        ),
        arguments="--model DIR --experts RANGES",
    )
    add_version(line)
    return line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker; 0 after a clean stop, 2 when it could not start."""
    settings = command_line().read(arguments)[WorkerSettings]
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr
    )
    raise_open_files()
    try:
        from jangtq_worker.server import WorkerServer, run_until_signal

        run_until_signal(WorkerServer(settings), watch_stdin=settings.stop_on_stdin_close)
    except (JangtqError, BackendMissingError) as error:
        print(f"{_PROGRAM}: {error}", file=sys.stderr)
        return 2
    return 0
