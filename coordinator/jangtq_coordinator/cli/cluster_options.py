"""The command line's options for the cluster, and the settings they become."""

import argparse

from jangtq_coordinator.config import ClusterSettings, Transport
from jangtq_coordinator.model.dense_weights import DenseForm, DenseSettings
from jangtq_coordinator.model.overlap import OverlapMode
from jangtq_proto.addresses import parse_addresses
from jangtq_proto.options import add_device, add_model, add_poll, add_tls
from jangtq_proto.ranges import parse_ranges
from jangtq_proto.wire.row_type import RowType

DEFAULT_WORKER_PORT = 7700


def add_cluster(command: argparse.ArgumentParser) -> None:
    """What `serve` and `generate` need to know of the cluster."""
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
        help="how expert calls travel; express takes less time, by a plain socket on another port of the "
        "worker, which gRPC lets in to (default: %(default)s)",
    )
    add_poll(command)
    add_tls(command)
    command.add_argument(
        "--no-unix-sockets",
        action="store_true",
        help="use TCP even to workers on this machine",
    )
    command.add_argument(
        "--overlap",
        type=OverlapMode,
        choices=tuple(OverlapMode),
        default=OverlapMode.AUTO,
        metavar="{" + ",".join(OverlapMode) + "}",
        help="run passes as two halves, one in attention while the other is with the workers; "
        "auto does so where trials prove it faster; those that prove slower cost the time of three passes of "
        "each size at most, and beyond that a hundredth of all passes' (default: %(default)s)",
    )
    _add_dense(command)
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
        help="how long a layer may take a worker that nobody can stand in for (default: %(default)g)",
    )
    command.add_argument(
        "--worker-timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long requests wait for experts that nobody holds any more (default: %(default)g)",
    )
    command.add_argument(
        "--rebalance",
        type=float,
        metavar="SECONDS",
        help="when experts have had no worker for so long, have workers with --spare-gb take them over, and "
        "give them back when their owner is back for so long",
    )
    command.add_argument(
        "--spare-gb",
        type=float,
        default=0.0,
        metavar="GB",
        help="memory here, beside --kv-memory, for lost experts that no worker has room for (default: none)",
    )
    command.add_argument(
        "--audit",
        type=float,
        default=0.0,
        metavar="PART",
        help="ask a second worker in this part of all exchanges, such as 0.001, and compare to the bit",
    )


def _add_dense(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--dense",
        type=DenseForm,
        choices=tuple(DenseForm),
        default=DenseForm.AUTO,
        metavar="{" + ",".join(DenseForm) + "}",
        help="what to keep the weights of attention and head as; float32 takes four times the memory of "
        "packed and is many times faster on a CPU; auto unpacks as much as half of the free memory holds, "
        "and nothing on Metal (default: %(default)s)",
    )
    command.add_argument(
        "--dense-threads",
        type=int,
        metavar="N",
        help="threads that share their large products on Linux (default: half of the cores)",
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
        overlap=given.overlap,
        dense=DenseSettings(given.dense, given.dense_threads),
        tls=given.tls,
        connect_timeout_seconds=given.connect_timeout,
        call_timeout_seconds=given.call_timeout,
        worker_timeout_seconds=given.worker_timeout,
        audit=given.audit,
        rebalance_seconds=given.rebalance,
        spare_bytes=int(given.spare_gb * 1e9),
    )
