"""llama.cpp as a peer: its own benchmarks as processes. Knows nothing of ours.

Build them from llama-cpp-python's source distribution:
`cmake -B build -DGGML_RPC=ON -DLLAMA_BUILD_TESTS=OFF vendor/llama.cpp` and
`cmake --build build -t llama-bench llama-batched-bench ggml-rpc-server`, which leaves them in build/bin.
"""

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class LlamaPeer:
    """The programs in a folder, on one model."""

    def __init__(self, folder: Path, model: Path, *, threads: int) -> None:
        self._folder = folder
        self._model = model
        self._threads = threads

    def rates(self, tests: Sequence[str], *, rpc: Sequence[str] = ()) -> list[float]:
        """Tokens a second of llama-bench's tests, each given as its options."""
        shared = ["-m", str(self._model), "-t", str(self._threads), "-r", "2", "-o", "json", "-ngl", "99"]
        if rpc:
            shared += ["--rpc", ",".join(rpc)]
        return [self._rate([*shared, *test.split()]) for test in tests]

    def batched_rate(self, sequences: int) -> float:
        """Tokens a second of all sequences together, decoding after 16 tokens each."""
        command = [str(self._folder / "llama-batched-bench"), "-m", str(self._model)]
        command += f"-t {self._threads} -npp 16 -ntg 8 -npl {sequences} -c 4096 --output-format jsonl".split()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        return float(json.loads(lines[-1])["speed_tg"])

    @contextmanager
    def servers(self, count: int) -> Iterator[list[str]]:
        """RPC servers with an equal share of the threads each, at their addresses."""
        ports = [_free_port() for _ in range(count)]
        own = max(1, self._threads // count)
        program = str(self._folder / "ggml-rpc-server")
        running = [
            subprocess.Popen(
                [program, "-H", "127.0.0.1", "-p", str(port), "-t", str(own)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for port in ports
        ]
        try:
            for port in ports:
                _wait_for(port)
            yield [f"127.0.0.1:{port}" for port in ports]
        finally:
            for process in running:
                process.kill()
                process.wait()

    def _rate(self, options: list[str]) -> float:
        process = subprocess.Popen(
            [str(self._folder / "llama-bench"), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        output, complaints = process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"llama-bench {' '.join(options)} failed:\n{complaints[-2000:]}")
        found = json.loads(re.sub(r"^[^\[]*", "", output, count=1))
        return max(map(float, found[-1]["samples_ts"]))


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"no RPC server on port {port}")
