"""`jangtq-coord demo`: two workers, a coordinator and one streamed answer here, then nothing left."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.models import demo_model
from jangtq_coordinator.chat_client import chat_chunks, cluster_status
from jangtq_coordinator.children import Child, Children
from jangtq_coordinator.status import LayerStatus
from jangtq_coordinator.terminal import AnswerPrinter


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
    with Children() as children:
        base_url = start_cluster(children, model or demo_model(), threads=threads)
        print(f"\n> {prompt}\n", flush=True)
        answer = stream_chat(base_url, prompt, max_tokens=max_tokens)
        print_report(answer, cluster_status(base_url).layers)


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
    printer = AnswerPrinter()
    started = time.perf_counter()
    first_token_at: float | None = None
    completion_tokens = 0
    for chunk in chat_chunks(base_url, prompt, max_tokens=max_tokens):
        for choice in chunk.choices:
            if first_token_at is None and (choice.delta.reasoning_content or choice.delta.content):
                first_token_at = time.perf_counter()
            printer.reasoning(choice.delta.reasoning_content)
            printer.content(choice.delta.content)
        if chunk.usage is not None:
            completion_tokens = chunk.usage.completion_tokens
    print(flush=True)
    ended = time.perf_counter()
    return Answer(completion_tokens, (first_token_at or ended) - started, ended - (first_token_at or ended))


def print_report(answer: Answer, splits: Sequence[LayerStatus]) -> None:
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
