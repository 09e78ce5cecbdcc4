"""`jangtq-coord`: the command line of the coordinator."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from jangtq_coordinator.settings import ClusterSettings, ServeSettings, Transport
from jangtq_kernels.errors import BackendMissingError
from jangtq_proto.addresses import parse_addresses
from jangtq_proto.codec import RowType
from jangtq_proto.errors import JangtqError
from jangtq_proto.options import add_device, add_lifeline, add_model, add_poll
from jangtq_proto.ranges import parse_ranges

DEFAULT_WORKER_PORT = 7700

_EXAMPLES = """\
examples:
  jangtq-coord serve --model ~/MiniMax-M2.7-JANGTQ --workers 10.0.0.1:7700,10.0.0.2:7700
  jangtq-coord serve --model ~/MiniMax-M2.7-JANGTQ --workers 10.0.0.2 --experts 0-95
  jangtq-coord generate --model ~/MiniMax-M2.7-JANGTQ --experts 0-255 --prompt "Hello"
  jangtq-coord demo
"""


def parser() -> argparse.ArgumentParser:
    """The commands of `jangtq-coord` and their options."""
    result = argparse.ArgumentParser(
        prog="jangtq-coord",
        description="Run a JANGTQ model whose routed experts live in workers.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_serve(commands.add_parser("serve", help="answer the OpenAI API"))
    _add_generate(commands.add_parser("generate", help="write one answer to the terminal"))
    _add_demo(commands.add_parser("demo", help="show two workers and a coordinator on this machine"))
    return result


def _add_cluster(command: argparse.ArgumentParser) -> None:
    add_model(command)
    command.add_argument(
        "--workers",
        default="",
        metavar="HOST:PORT,...",
        help=f"the workers; a missing port means {DEFAULT_WORKER_PORT}",
    )
    command.add_argument(
        "--experts", default="", metavar="RANGES", help="experts to hold here, such as 0-95 (default: none)"
    )
    add_device(command)
    command.add_argument(
        "--wire-dtype",
        type=RowType,
        choices=tuple(RowType),
        metavar="{" + ",".join(RowType) + "}",
        help="how rows travel and what the coordinator computes in (default: float16 on Metal, else float32)",
    )
    command.add_argument(
        "--transport",
        type=Transport,
        choices=tuple(Transport),
        default=Transport.GRPC,
        metavar="{" + ",".join(Transport) + "}",
        help="how expert calls travel; express is a plain socket that gRPC lets in to (default: %(default)s)",
    )
    add_poll(command)
    command.add_argument(
        "--no-unix-sockets",
        action="store_true",
        help="use TCP even to workers on this machine",
    )
    command.add_argument(
        "--connect-timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long to look for a worker at start (default: %(default)g)",
    )
    command.add_argument(
        "--call-timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long a worker may take for one layer (default: %(default)g)",
    )


def _add_serve(command: argparse.ArgumentParser) -> None:
    defaults = ServeSettings()
    _add_cluster(command)
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


def _add_generate(command: argparse.ArgumentParser) -> None:
    _add_cluster(command)
    command.add_argument("--prompt", required=True, metavar="TEXT", help="what to ask")
    command.add_argument("--system", metavar="TEXT", help="a system message before it")
    command.add_argument("--max-tokens", type=int, default=1024, metavar="N", help="(default: %(default)s)")
    command.add_argument("--temperature", type=float, metavar="T", help="0 always takes the likeliest token")
    command.add_argument("--seed", type=int, metavar="N", help="same seed, same answer")


def _add_demo(command: argparse.ArgumentParser) -> None:
    command.add_argument("--prompt", default="Explain photosynthesis in five sentences.", metavar="TEXT")
    command.add_argument("--model", type=Path, metavar="DIR", help="another bundle than the demo's")
    command.add_argument("--max-tokens", type=int, default=200, metavar="N", help="(default: %(default)s)")
    command.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads a worker (default: %(default)s)"
    )


def cluster_settings(given: argparse.Namespace) -> ClusterSettings:
    """The cluster's part of a command line. Raises ConfigurationError."""
    return ClusterSettings(
        model=given.model,
        workers=parse_addresses(given.workers, default_port=DEFAULT_WORKER_PORT),
        local_ranges=parse_ranges(given.experts) if given.experts else (),
        device=given.device,
        threads=given.threads,
        wire_dtype=given.wire_dtype,
        transport=given.transport,
        poll_us=given.poll_us,
        unix_sockets=not given.no_unix_sockets,
        connect_timeout_seconds=given.connect_timeout,
        call_timeout_seconds=given.call_timeout,
    )


def serve_settings(given: argparse.Namespace) -> ServeSettings:
    """The API's part of a command line. Raises ConfigurationError."""
    return ServeSettings(
        host=given.host,
        port=given.port,
        insecure=given.insecure,
        batch_size=given.batch_size,
        prefill_rows=given.prefill_rows,
    )


def run(given: argparse.Namespace) -> None:
    """Do what the command line asks; each command imports only what it needs."""
    if given.command == "demo":
        from jangtq_coordinator.demo import run_demo

        run_demo(given.prompt, model=given.model, max_tokens=given.max_tokens, threads=given.threads)
    elif given.command == "generate":
        from jangtq_coordinator.generate import Question, generate

        question = Question(given.prompt, given.system, given.max_tokens, given.temperature, given.seed)
        generate(cluster_settings(given), question)
    else:
        from jangtq_coordinator.serve import serve

        serve(cluster_settings(given), serve_settings(given), watch_stdin=given.stop_on_stdin_close)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 after a clean end, 2 when it could not start, 130 when interrupted."""
    log_format = "%(asctime)s %(name)s %(levelname)s %(message)s"
    logging.basicConfig(level=logging.INFO, format=log_format, stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        run(parser().parse_args(arguments))
    except (JangtqError, BackendMissingError) as error:
        print(f"jangtq-coord: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
