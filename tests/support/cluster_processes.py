"""Real worker and coordinator processes for tests, all gone when the block ends."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jangtq_coordinator.cli.demo.processes import Child, Children
from jangtq_proto.addresses import Address, parse_address
from tests.support.forks import processes, run_command


def start_worker(
    children: Children,
    bundle: Path,
    experts: str,
    *,
    device: str = "auto",
    listen: str = "127.0.0.1:0",
    options: Sequence[str] = (),
    under: Sequence[str] = (),
) -> Child:
    """A worker of one thread; ask the child where it listens."""
    arguments = ["--model", str(bundle), "--experts", experts, "--listen", listen]
    return children.start(
        f"worker {experts}",
        "jangtq_worker",
        [*arguments, "--device", device, "--threads", "1", "--stop-on-stdin-close", *options],
        under=under,
    )


def start_coordinator(
    children: Children,
    bundle: Path,
    workers: Sequence[Address],
    options: Sequence[str] = (),
    *,
    under: Sequence[str] = (),
) -> Child:
    """`jangtq-coord serve` on a free port; `listening()` is the API's base URL."""
    arguments = ["serve", "--model", str(bundle), "--workers", ",".join(map(str, workers)), "--port", "0"]
    return children.start(
        "coordinator",
        "jangtq_coordinator",
        [*arguments, "--stop-on-stdin-close", *options],
        under=under,
    )


def start_alone(children: Children, bundle: Path, options: Sequence[str] = ()) -> Child:
    """The same without workers: it holds all experts, and is ready."""
    coordinator = children.start(
        "coordinator",
        "jangtq_coordinator",
        ["serve", "--model", str(bundle), "--experts", "0-255", "--threads", "1", "--port", "0"]
        + ["--stop-on-stdin-close", *options],
    )
    coordinator.ready()
    return coordinator


@contextmanager
def running_workers(
    bundle: Path, experts: Sequence[str], *, device: str = "auto"
) -> Iterator[tuple[Address, ...]]:
    """Workers with these ranges, ready to serve."""
    with processes() as children:
        started = [start_worker(children, bundle, ranges, device=device) for ranges in experts]
        for worker in started:
            worker.ready()
        yield tuple(parse_address(worker.listening()) for worker in started)


def run_coordinator(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `jangtq-coord` to its end."""
    return run_command("jangtq_coordinator", *arguments)
