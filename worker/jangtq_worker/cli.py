"""`jangtq-worker`: the command line of a worker."""

import argparse
import logging
import sys
from collections.abc import Sequence

from jangtq_kernels.errors import BackendMissingError
from jangtq_proto.addresses import parse_address
from jangtq_proto.errors import JangtqError
from jangtq_proto.options import add_device, add_lifeline, add_model, add_poll, add_tls
from jangtq_proto.ranges import parse_ranges
from jangtq_worker.settings import WorkerSettings

DEFAULT_PORT = 7700

_EXAMPLES = """\
examples:
  jangtq-worker --model ~/MiniMax-M2.7-JANGTQ --experts 0-127
  jangtq-worker --model ~/MiniMax-M2.7-JANGTQ --experts 128-255 --listen 192.168.1.21:7700 --tls ~/jangtq-tls
  jangtq-worker --model ~/MiniMax-M2.7-JANGTQ --experts 0-63,128-191 --device cpu --threads 8

Ranges are closed: 0-127 holds 128 experts. Together the workers and the coordinator must hold every expert.
"""


def parser() -> argparse.ArgumentParser:
    """The options of `jangtq-worker`."""
    result = argparse.ArgumentParser(
        prog="jangtq-worker",
        description="Hold a slice of a JANGTQ model's routed experts and answer a coordinator's calls.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model(result)
    result.add_argument(
        "--experts", required=True, metavar="RANGES", help="experts to hold, such as 0-127 or 0-63,128-191"
    )
    result.add_argument(
        "--listen",
        default=f"127.0.0.1:{DEFAULT_PORT}",
        metavar="HOST:PORT",
        help="where to listen; port 0 takes a free one (default: %(default)s)",
    )
    add_device(result)
    add_tls(result)
    result.add_argument(
        "--insecure",
        action="store_true",
        help="allow an address that other machines reach, without encryption and certificates",
    )
    result.add_argument(
        "--spare-gb",
        type=float,
        default=0.0,
        metavar="GB",
        help="memory for experts of lost workers, which a coordinator with --rebalance may ask to take over "
        "(default: none)",
    )
    result.add_argument(
        "--max-streams",
        type=int,
        default=16,
        metavar="N",
        help="streams of coordinators served at a time (default: %(default)s)",
    )
    result.add_argument(
        "--max-calls",
        type=int,
        default=16,
        metavar="N",
        help="calls computing and waiting at a time; more are sent to another worker (default: %(default)s)",
    )
    result.add_argument(
        "--express-port",
        type=int,
        default=0,
        metavar="PORT",
        help="TCP port of the express transport (--transport express of coordinators), on the host of "
        "--listen; 0 takes a free one once a coordinator asks (default: %(default)s)",
    )
    add_poll(result)
    add_lifeline(result)
    return result


def settings_from(arguments: Sequence[str] | None) -> WorkerSettings:
    """Read the command line. Raises ConfigurationError."""
    given = parser().parse_args(arguments)
    return WorkerSettings(
        model=given.model,
        ranges=parse_ranges(given.experts),
        listen=parse_address(given.listen, default_port=DEFAULT_PORT),
        device=given.device,
        threads=given.threads,
        insecure=given.insecure,
        tls=given.tls,
        express_port=given.express_port,
        poll_us=given.poll_us,
        spare_bytes=int(given.spare_gb * 1e9),
        max_streams=given.max_streams,
        max_calls=given.max_calls,
        stop_on_stdin_close=given.stop_on_stdin_close,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker; 0 after a clean stop, 2 when it could not start."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr
    )
    try:
        settings = settings_from(arguments)
        from jangtq_worker.server import WorkerServer, run_until_signal

        run_until_signal(WorkerServer(settings), watch_stdin=settings.stop_on_stdin_close)
    except (JangtqError, BackendMissingError) as error:
        print(f"jangtq-worker: {error}", file=sys.stderr)
        return 2
    return 0
