"""`jangtq-coord demo`: two workers, a coordinator and streamed answers here, then nothing left."""

import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.models import demo_model
from jangtq_coordinator.cli.command_settings import DemoSettings
from jangtq_coordinator.cli.demo.processes import Child, Children
from jangtq_coordinator.cli.demo.script import DemoScript, DemoTurn
from jangtq_coordinator.cli.status import LayerView, fetch_status

_SERVED_PORT: Final = 8080


def run_demo(settings: DemoSettings) -> None:
    """Show the cluster working. Raises ClusterError when a process does not get ready."""
    port = settings.port if settings.port is not None else _SERVED_PORT if settings.serve else 0
    with Children() as children:
        base_url = start_cluster(
            children, settings.model or demo_model(), threads=settings.threads, port=port
        )
        if settings.serve:
            _wait_for_the_end(base_url)
            return
        script = DemoScript(base_url, max_tokens=settings.max_tokens)
        turns = script.show_all() if settings.prompt is None else script.show_one(settings.prompt)
        print_report(turns, fetch_status(base_url).cluster.layers)
    print("\nnext: `jangtq-coord demo --serve` keeps such a cluster up, with a page to chat on", flush=True)


def _wait_for_the_end(base_url: str) -> None:
    """Until Ctrl-C, or another signal that ends the process."""
    print(
        f"\nopen {base_url}/ in a browser, or in another terminal: jangtq-coord chat --url {base_url}\n"
        "Ctrl-C stops everything",
        flush=True,
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        print("stopping", flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def start_cluster(children: Children, bundle_path: Path, *, threads: int, port: int = 0) -> str:
    """Start two workers with half of the experts each and a coordinator; returns the API's base URL."""
    experts = Bundle.open(bundle_path).config.expert_count
    halves = (f"0-{experts // 2 - 1}", f"{experts // 2}-{experts - 1}")
    workers = [_start_worker(children, bundle_path, half, threads=threads) for half in halves]
    addresses = [worker.listening() for worker in workers]
    for worker in workers:
        print(f"{worker.name}: {worker.ready()}", flush=True)
    coordinator = children.start(
        "coordinator",
        "jangtq_coordinator",
        ["serve", "--model", str(bundle_path), "--workers", ",".join(addresses), "--port", str(port)]
        + ["--stop-on-stdin-close"],
    )
    base_url = coordinator.listening()
    print(f"coordinator: {coordinator.ready()}", flush=True)
    return base_url


def _start_worker(children: Children, bundle_path: Path, experts: str, *, threads: int) -> Child:
    return children.start(
        f"worker {experts}",
        "jangtq_worker",
        ["--model", str(bundle_path), "--experts", experts, "--listen", "127.0.0.1:0"]
        + ["--threads", str(threads), "--stop-on-stdin-close"],
    )


def print_report(turns: Sequence[DemoTurn], splits: Sequence[LayerView]) -> None:
    """Tokens per second, and milliseconds a layer and pass for attention, dispatch and experts."""
    tokens = sum(turn.completion_tokens for turn in turns)
    following = sum(turn.completion_tokens - 1 for turn in turns if turn.completion_tokens)
    seconds = sum(turn.seconds_after_first for turn in turns)
    print(
        f"\n{tokens} tokens, first after {turns[0].first_token_seconds:.2f} s, "
        f"then {following / seconds if seconds else 0:.1f} tokens/s\n"
    )
    print("layer  attention   dispatch    experts   (milliseconds a forward pass)")
    for split in splits:
        print(
            f"{split.layer:5d}  {split.attention_ms:9.3f}  {split.dispatch_ms:9.3f}  {split.experts_ms:9.3f}"
        )
    print(
        f"  all  {sum(s.attention_ms for s in splits):9.3f}  {sum(s.dispatch_ms for s in splits):9.3f}"
        f"  {sum(s.experts_ms for s in splits):9.3f}"
    )
