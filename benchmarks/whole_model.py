"""A model of MiniMax-M2.7's width beside llama.cpp: decode, prefill, context and memory, in one run.

Run as `python -m benchmarks.whole_model [--write] --llama FOLDER`; llama_peer.py says how to build the
programs of that folder. Bundle and GGUF (which takes the package `gguf`) are written where they are missing.
Experts are 2 bits and Q2_K, the rest 8 bits and Q8_0. Each figure is the best of its repetitions.
`--only WAY` measures one way and keeps the other figures, for a machine that is quiet for minutes only.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import psutil

from benchmarks.llama_peer import LlamaPeer
from benchmarks.random_gguf import write_gguf
from benchmarks.results import benchmark_options, cores, publish
from jangtq_bundle.bundle import Bundle
from jangtq_coordinator.cli.demo.processes import Children

HALVES = ("0-127", "128-255")
_READ_BYTES = 16 << 20
ROWS = ("decode 1", "decode 16", "prefill 256", "prefill 2048", "context 3000", "context 16000")


@dataclass(frozen=True)
class Way:
    """Tokens a second by what was measured, and the bytes in memory once loaded."""

    rates: dict[str, float]
    resident: int | None = None


@dataclass(frozen=True)
class Race:
    """What every way runs on."""

    bundle: Path
    threads: int
    peer: LlamaPeer | None

    def ways(self) -> dict[str, Callable[[], Way]]:
        """By their names, in the order of the table."""
        ours: dict[str, Callable[[], Way]] = {
            "one process": partial(ours_alone, self.bundle, self.threads),
            "two workers, gRPC": partial(ours_with_workers, self.bundle, self.threads, "grpc"),
            "two workers, express": partial(ours_with_workers, self.bundle, self.threads, "express"),
        }
        if self.peer is None:
            return ours
        return ours | {
            "llama.cpp, one process": partial(llama_alone, self.peer),
            "llama.cpp, two RPC servers": partial(llama_rpc, self.peer),
        }


def run_side(bundle: Path, threads: int, *cluster: str) -> tuple[dict[str, float], int]:
    """The figures of whole_model_side.py, flat, and its resident bytes."""
    command = [sys.executable, "-m", "benchmarks.whole_model_side", str(bundle), str(threads), *cluster]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    line = next(each for each in done.stdout.splitlines() if each.startswith("figures: "))
    found = json.loads(line.removeprefix("figures: "))
    kinds = ("decode", "prefill", "context")
    rates = {f"{kind} {size}": rate for kind in kinds for size, rate in found[kind].items()}
    return rates, found["resident"]


def ours_alone(bundle: Path, threads: int) -> Way:
    """Coordinator and experts in one process."""
    return Way(*run_side(bundle, threads))


def ours_with_workers(bundle: Path, threads: int, transport: str) -> Way:
    """Two workers with half of the threads and of the experts each."""
    with Children() as children:
        options = ["--model", str(bundle), "--listen", "127.0.0.1:0", "--express-port", "0"]
        options += ["--threads", str(max(1, threads // 2)), "--stop-on-stdin-close"]
        workers = [
            children.start(f"worker {half}", "jangtq_worker", [*options, "--experts", half])
            for half in HALVES
        ]
        for worker in workers:
            worker.ready()
        rates, resident = run_side(bundle, threads, transport, ",".join(each.listening() for each in workers))
        resident += sum(psutil.Process(each.process.pid).memory_info().rss for each in workers)
    return Way(rates, resident)


def llama_alone(peer: LlamaPeer) -> Way:
    """llama-bench prefills the context itself, so that 16,000 tokens would take it minutes."""
    tests = {
        "decode 1": "-n 24 -p 0",
        "prefill 256": "-n 0 -p 256",
        "prefill 2048": "-n 0 -p 2048 -r 1",
        "context 3000": "-n 8 -p 0 -d 3000 -r 1",
    }
    rates = dict(zip(tests, peer.rates(list(tests.values())), strict=True))
    return Way(rates | {"decode 16": peer.batched_rate(16)})


def llama_rpc(peer: LlamaPeer) -> Way:
    """Two servers on this machine."""
    with peer.servers(2) as servers:
        decode, prefill = peer.rates(["-n 16 -p 0", "-n 0 -p 256 -r 1"], rpc=servers)
    return Way({"decode 1": decode, "prefill 256": prefill})


def report(ways: dict[str, Way], bundle: Path, layers: int) -> str:
    """One column a way."""
    weights = sum(file.stat().st_size for file in bundle.glob("*.safetensors"))
    lines = [
        f"{layers} layers, {weights / 1e9:.2f} GB of weights in the bundle; tokens a second.",
        "",
        "| | " + " | ".join(ways) + " |",
        "|---" * (len(ways) + 1) + "|",
    ]
    for row in ROWS:
        cells = [f"{way.rates[row]:.1f}" if row in way.rates else "" for way in ways.values()]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    memory = ["" if way.resident is None else f"{way.resident / weights:.2f}" for way in ways.values()]
    lines.append("| resident memory over the bundle's bytes | " + " | ".join(memory) + " |")
    return "\n".join(lines)


def kept_figures(file: Path) -> dict[str, Way]:
    """What earlier runs measured."""
    found = json.loads(file.read_text()) if file.exists() else {}
    return {name: Way(**way) for name, way in found.items()}


def read_once(files: Iterable[Path]) -> None:
    """Into the system's cache, so that no way's figures hold what the disk takes."""
    for file in files:
        with file.open("rb", buffering=0) as source:
            while source.read(_READ_BYTES):
                pass


def write_bundle(path: Path, layers: int) -> None:
    """In a process of its own, whose memory goes with it."""
    writing = [sys.executable, "-m", "benchmarks.random_bundle", str(path), "--layers", str(layers)]
    subprocess.run(writing, check=True)


def main() -> None:
    """Measure every way, or one of them, print, and keep the table with --write."""
    options = benchmark_options(__doc__)
    options.add_argument("--llama", type=Path, metavar="FOLDER", help="llama.cpp's programs (default: none)")
    options.add_argument("--models", type=Path, default=Path("/tmp/whole-model"), metavar="DIR")
    options.add_argument("--layers", type=int, default=4, metavar="N", help="(default: %(default)s)")
    options.add_argument("--only", metavar="WAY", help="as the table names it (default: all)")
    given = options.parse_args()
    bundle, kept = given.models / f"bundle-{given.layers}", given.models / f"figures-{given.layers}.json"
    if not bundle.exists():
        write_bundle(bundle, given.layers)
    peer, gguf = None, given.models / f"model-{given.layers}.gguf"
    if given.llama:
        write_gguf(gguf, Bundle.open(bundle).config)
        peer = LlamaPeer(given.llama, gguf, threads=cores())
    ways = Race(bundle, cores(), peer).ways()
    figures = kept_figures(kept) if given.only else {}
    for name in [given.only] if given.only else ways:
        read_once([gguf] if name.startswith("llama.cpp") else bundle.glob("*.safetensors"))
        figures[name] = ways[name]()
        kept.write_text(json.dumps({each: asdict(way) for each, way in figures.items()}))
    publish(
        "Whole model",
        "python -m benchmarks.whole_model --llama FOLDER",
        report(figures, bundle, given.layers),
        write=given.write,
    )


if __name__ == "__main__":
    main()
