"""`jangtq-coord demo`: two workers, a coordinator and one streamed answer on this machine, then nothing left."""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from jangtq_bundle.bundle import Bundle
from jangtq_coordinator.children import Child, Children
from jangtq_coordinator.timing import LayerSplit

_DIM, _PLAIN = "\033[2m", "\033[0m"


@dataclass(frozen=True)
class Answer:
    """What one streamed chat took."""

    completion_tokens: int
    first_token_seconds: float
    seconds_after_first: float

    @property
    def tokens_per_second(self) -> float:
        return (self.completion_tokens - 1) / self.seconds_after_first if self.completion_tokens > 1 else 0.0


def run_demo(prompt: str, *, model: Path | None, max_tokens: int, threads: int) -> None:
    """Show the cluster working. Raises ClusterError when a process does not get ready."""
    with tempfile.TemporaryDirectory(prefix="jangtq-demo-") as scratch, Children() as children:
        bundle_path = model or make_demo_bundle(Path(scratch) / "bundle")
        base_url = start_cluster(children, bundle_path, threads=threads)
        print(f"\n> {prompt}\n", flush=True)
        answer = stream_chat(base_url, prompt, max_tokens=max_tokens)
        print_report(answer, layer_splits(base_url))


def make_demo_bundle(path: Path) -> Path:
    """The demo bundle, written to `path`."""
    from jangtq_bundle.demo import write_demo_bundle

    print("making the demo bundle", flush=True)
    write_demo_bundle(path)
    return path


def start_cluster(children: Children, bundle_path: Path, *, threads: int) -> str:
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
        ["serve", "--model", str(bundle_path), "--workers", ",".join(addresses), "--port", "0"]
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


def stream_chat(base_url: str, prompt: str, *, max_tokens: int) -> Answer:
    """Print one answer as it comes, the reasoning dimmed."""
    started = time.perf_counter()
    first_token_at = 0.0
    completion_tokens = 0
    for event in _chat_events(base_url, prompt, max_tokens):
        for choice in event["choices"]:
            delta = choice["delta"]
            if not first_token_at and (delta.get("content") or delta.get("reasoning_content")):
                first_token_at = time.perf_counter()
            _show(delta.get("reasoning_content") or "", dim=True)
            _show(delta.get("content") or "", dim=False)
        if event.get("usage"):
            completion_tokens = event["usage"]["completion_tokens"]
    print(flush=True)
    return Answer(completion_tokens, first_token_at - started, time.perf_counter() - first_token_at)


def _chat_events(base_url: str, prompt: str, max_tokens: int) -> Iterator[dict[str, object]]:
    body = {
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with httpx.stream("POST", f"{base_url}/v1/chat/completions", json=body, timeout=120) as response:
        if response.is_error:
            response.read()
        response.raise_for_status()
        for line in response.iter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                yield json.loads(line.removeprefix("data: "))


def _show(text: str, *, dim: bool) -> None:
    if text:
        print(f"{_DIM}{text}{_PLAIN}" if dim and sys.stdout.isatty() else text, end="", flush=True)


def layer_splits(base_url: str) -> list[LayerSplit]:
    """Where each layer's time went, as the coordinator measured it."""
    cluster = httpx.get(f"{base_url}/cluster", timeout=10).raise_for_status().json()
    return [LayerSplit(**split) for split in cluster["layers"]]


def print_report(answer: Answer, splits: list[LayerSplit]) -> None:
    """Tokens per second, and milliseconds a layer and pass for attention, dispatch and experts."""
    print(
        f"\n{answer.completion_tokens} tokens, first after {answer.first_token_seconds:.2f} s, "
        f"then {answer.tokens_per_second:.1f} tokens/s\n"
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
