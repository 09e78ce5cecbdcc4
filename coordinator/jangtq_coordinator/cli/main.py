"""`jangtq-coord`: the command line of the coordinator."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jangtq_coordinator import logs
from jangtq_coordinator.cli.admin_client import add_url
from jangtq_coordinator.cli.certs import add_certs, certs_settings, make_certificates
from jangtq_coordinator.cli.cluster_options import add_cluster, cluster_settings
from jangtq_coordinator.cli.serve_options import add_api_keys, add_serve, serve_settings
from jangtq_coordinator.metrics.trace_events import MOST_SECONDS
from jangtq_kernels.errors import BackendMissingError
from jangtq_proto.errors import JangtqError
from jangtq_proto.options import add_model

_EXAMPLES = """\
examples:
  jangtq-coord certs DIR --workers 10.0.0.1,10.0.0.2
  jangtq-coord serve --model ~/MiniMax-M2.7-JANGTQ --workers 10.0.0.1,10.0.0.2 --tls DIR/coordinator
  jangtq-coord serve --model ~/MiniMax-M2.7-JANGTQ --workers 10.0.0.2 --experts 0-95 --tls DIR/coordinator
  jangtq-coord key --api-keys ~/.jangtq/keys --name laptop
  jangtq-coord generate --model ~/MiniMax-M2.7-JANGTQ --experts 0-255 --prompt "Hello"
  jangtq-coord drain 10.0.0.2:7700
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
    serve = commands.add_parser("serve", help="answer the OpenAI API")
    add_cluster(serve)
    add_serve(serve)
    _add_key(commands.add_parser("key", help="make an API key and show it once"))
    _add_generate(commands.add_parser("generate", help="write one answer to the terminal"))
    add_certs(commands.add_parser("certs", help="make the certificates of a cluster"))
    add_model(commands.add_parser("hash", help="compare a bundle with its hashes, or write them"))
    _add_worker(commands.add_parser("add", help="let a worker in to a running cluster, or in again"))
    _add_worker(commands.add_parser("drain", help="ask a worker nothing more, so that it may be stopped"))
    _add_trace(commands.add_parser("trace", help="keep what a running coordinator did in a Perfetto file"))
    _add_demo(commands.add_parser("demo", help="show two workers and a coordinator on this machine"))
    return result


def _add_key(command: argparse.ArgumentParser) -> None:
    add_api_keys(command, required=True)
    command.add_argument("--name", required=True, help="whose key it is, as logs will say")


def _add_generate(command: argparse.ArgumentParser) -> None:
    add_cluster(command)
    command.add_argument("--prompt", required=True, metavar="TEXT", help="what to ask")
    command.add_argument("--system", metavar="TEXT", help="a system message before it")
    command.add_argument("--max-tokens", type=int, default=1024, metavar="N", help="(default: %(default)s)")
    command.add_argument("--temperature", type=float, metavar="T", help="0 always takes the likeliest token")
    command.add_argument("--seed", type=int, metavar="N", help="same seed, same answer")


def _add_worker(command: argparse.ArgumentParser) -> None:
    command.add_argument("worker", metavar="HOST:PORT", help="where it listens")
    add_url(command)


def _add_trace(command: argparse.ArgumentParser) -> None:
    add_url(command)
    which = command.add_mutually_exclusive_group()
    which.add_argument("--request", metavar="ID", help="one request, by the x-request-id of its answer")
    which.add_argument("--last", action="store_true", help="the request that began last (the default)")
    which.add_argument(
        "--seconds",
        type=float,
        metavar="N",
        help=f"whatever happens in the next N seconds, {MOST_SECONDS:g} at most",
    )
    command.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("trace.json"),
        metavar="FILE",
        help="where to write it (default: %(default)s)",
    )


def _add_demo(command: argparse.ArgumentParser) -> None:
    command.add_argument("--prompt", metavar="TEXT", help="ask this, not the demo's three questions")
    command.add_argument("--model", type=Path, metavar="DIR", help="another bundle than the demo's")
    command.add_argument(
        "--max-tokens", type=int, default=300, metavar="N", help="a turn (default: %(default)s)"
    )
    command.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads a worker (default: %(default)s)"
    )


def run(given: argparse.Namespace) -> None:
    """Do what the command line asks; each command imports only what it needs."""
    if given.command == "demo":
        from jangtq_coordinator.cli.demo.run import run_demo

        run_demo(given.prompt, model=given.model, max_tokens=given.max_tokens, threads=given.threads)
    elif given.command == "certs":
        make_certificates(certs_settings(given))
    elif given.command == "hash":
        from jangtq_coordinator.cli.hash_bundle import hash_bundle

        hash_bundle(given.model)
    elif given.command == "generate":
        from jangtq_coordinator.cli.generate import Question, generate

        question = Question(given.prompt, given.system, given.max_tokens, given.temperature, given.seed)
        generate(cluster_settings(given), question)
    elif given.command == "key":
        from jangtq_coordinator.api.http.api_keys import add_key

        print(add_key(given.api_keys, given.name))
    elif given.command in ("add", "drain"):
        from jangtq_coordinator.cli.workers import change_worker

        change_worker(given.url, given.command, given.worker)
    elif given.command == "trace":
        from jangtq_coordinator.cli.trace import TraceQuestion, save_trace

        save_trace(TraceQuestion(given.url, given.output, given.request, given.seconds))
    else:
        from jangtq_coordinator.cli.serve import serve

        serve(cluster_settings(given), serve_settings(given), watch_stdin=given.stop_on_stdin_close)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 after a clean end, 2 when it could not start, 130 when interrupted."""
    given = parser().parse_args(arguments)
    logs.configure(getattr(given, "log_format", logs.LogFormat.TEXT))
    try:
        run(given)
    except (JangtqError, BackendMissingError) as error:
        print(f"jangtq-coord: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
