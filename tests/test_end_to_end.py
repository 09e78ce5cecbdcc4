"""The whole system as users run it: real processes, real gRPC, real HTTP, the official client."""

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openai
import psutil
import pytest
from cluster_processes import running_workers, start_coordinator, start_worker
from reference_bundles import Variant

from jangtq_bundle.demo import write_demo_bundle
from jangtq_coordinator.children import Child, Children
from jangtq_proto.addresses import Address, parse_address

QUESTION: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "demo-model"
    write_demo_bundle(path)
    return path


@pytest.fixture
def own_bundle(bundle: Path, tmp_path: Path) -> Path:
    """The same bundle in a folder of its own, by which a test's processes can be told from others."""
    return Path(shutil.copytree(bundle, tmp_path / "demo-model"))


@pytest.fixture(scope="module")
def base_url(bundle: Path) -> Iterator[str]:
    with running_workers(bundle, ["0-127", "128-255"]) as addresses, Children() as children:
        coordinator = start_coordinator(children, bundle, addresses)
        coordinator.ready()
        yield coordinator.listening()


@pytest.fixture
def client(base_url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0)


def test_a_whole_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="demo-model", messages=QUESTION, max_tokens=16, temperature=0
    )
    assert answer.usage is not None
    assert 1 <= answer.usage.completion_tokens <= 16
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.choices[0].finish_reason in ("stop", "length")


def test_a_streamed_answer_equals_the_whole_one(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(
        model="demo-model", messages=QUESTION, max_tokens=24, temperature=0
    )
    chunks = list(
        client.chat.completions.create(
            model="demo-model",
            messages=QUESTION,
            max_tokens=24,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.object == "chat.completion.chunk" and chunk.id == chunks[0].id for chunk in chunks)
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None and whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    message = whole.choices[0].message
    assert joined(chunks, "content") == (message.content or "")
    assert joined(chunks, "reasoning_content") == (getattr(message, "reasoning_content", None) or "")


def joined(chunks: list[openai.types.chat.ChatCompletionChunk], field: str) -> str:
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    return "".join(getattr(delta, field, None) or "" for delta in deltas)


def test_models_health_and_cluster(client: openai.OpenAI, base_url: str) -> None:
    assert [model.id for model in client.models.list()] == ["demo-model"]
    health = httpx.get(f"{base_url}/health")
    assert (health.status_code, health.json()["status"]) == (200, "ok")
    cluster = httpx.get(f"{base_url}/cluster").json()
    assert [holder["experts"] for holder in cluster["holders"]] == ["0-127", "128-255"]


@pytest.mark.parametrize(
    ("change", "status", "part"),
    [
        ({"model": "gpt-9"}, 404, "demo-model"),
        ({"messages": []}, 400, "messages"),
        ({"messages": "hello"}, 400, "messages"),
        ({"max_tokens": "many"}, 400, "max_tokens"),
        ({"temperature": 9}, 400, "temperature"),
        ({"messages": [{"role": "user", "content": "x" * 9000}]}, 400, "8192"),
    ],
    ids=["model", "no messages", "messages type", "max_tokens type", "temperature", "too long"],
)
def test_bad_input_gets_an_answer_to_act_on(
    base_url: str, change: dict[str, object], status: int, part: str
) -> None:
    body = {"model": "demo-model", "messages": QUESTION, "max_tokens": 1} | change
    answer = httpx.post(f"{base_url}/v1/chat/completions", json=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert part in error["message"] + str(error["param"])
    assert httpx.get(f"{base_url}/health").status_code == 200


def test_a_lost_worker_fails_the_request_and_not_the_server(bundle: Path) -> None:
    with Children() as children:
        first = start_worker(children, bundle, "0-127")
        second = start_worker(children, bundle, "128-255")
        addresses = [parse_address(worker.listening()) for worker in (first, second)]
        coordinator = start_coordinator(children, bundle, addresses)
        coordinator.ready()
        url = f"{coordinator.listening()}/v1/chat/completions"
        body = {"messages": QUESTION, "max_tokens": 4}
        assert httpx.post(url, json=body, timeout=60).status_code == 200
        second.process.kill()
        second.process.wait()
        failed = httpx.post(url, json=body, timeout=60)
        assert failed.status_code == 503
        assert str(addresses[1]) in failed.json()["error"]["message"]
        start_worker(children, bundle, "128-255", listen=str(addresses[1])).ready()
        assert httpx.post(url, json=body, timeout=60).status_code == 200


def run_coordinator(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jangtq_coordinator", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def refused(*arguments: str) -> str:
    """What a coordinator says that will not start."""
    result = run_coordinator(*arguments)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


def serve_arguments(bundle: Path, *workers: Address) -> list[str]:
    addresses = ",".join(map(str, workers))
    return ["serve", "--model", str(bundle), "--workers", addresses, "--port", "0", "--connect-timeout", "1"]


def test_nobody_there_is_said_for_every_worker(bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        free = [Address("127.0.0.1", s.getsockname()[1]) for s in (one, two)]
    said = refused(*serve_arguments(bundle, *free))
    assert all(f"worker {address}: no answer within 1 s" in said for address in free)


def test_experts_held_by_nobody_are_named(bundle: Path) -> None:
    with running_workers(bundle, ["0-99", "130-255"]) as workers:
        said = refused(*serve_arguments(bundle, *workers))
    assert f"experts 100-129 are held by nobody; {workers[0]} holds 0-99; {workers[1]} holds 130-255" in said


def test_workers_of_two_bundles_are_refused(
    bundle: Path, reference_bundle: Callable[[Variant], Path]
) -> None:
    other = reference_bundle(Variant.JANGTQ2)
    with running_workers(bundle, ["0-127"]) as ours, running_workers(other, ["128-255"]) as theirs:
        said = refused(*serve_arguments(bundle, *ours, *theirs))
    assert f"worker {theirs[0]} holds another bundle" in said


def test_a_port_in_use_is_said(bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused("serve", "--model", str(bundle), "--experts", "0-255", "--port", port)
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --workers HOST:PORT,... or --experts RANGES"),
        (["--experts", "0-256"], "experts 256 are outside the model"),
        (["--workers", "nonsense:port"], "write HOST:PORT"),
        (["--experts", "0-255", "--host", "0.0.0.0"], "--insecure"),
    ],
)
def test_a_coordinator_that_cannot_start_says_why(bundle: Path, arguments: list[str], message: str) -> None:
    assert message in refused("serve", "--model", str(bundle), "--port", "0", *arguments)


def test_generate_answers_in_the_terminal_without_workers(bundle: Path) -> None:
    arguments = ["--prompt", "Hello", "--max-tokens", "8", "--seed", "1"]
    first, second = (
        run_coordinator("generate", "--model", str(bundle), "--experts", "0-255", *arguments)
        for _ in range(2)
    )
    assert first.returncode == 0, first.stderr
    assert "tokens in" in first.stderr
    assert first.stdout == second.stdout != ""


def start_demo(bundle: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "jangtq_coordinator", "demo", "--model", str(bundle)]
    return subprocess.Popen(
        [*command, "--max-tokens", "12"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_the_demo_shows_an_answer_and_leaves_nothing_behind(own_bundle: Path) -> None:
    demo = start_demo(own_bundle)
    output, _ = demo.communicate(timeout=120)
    assert demo.returncode == 0, output
    assert "tokens/s" in output
    assert "attention   dispatch    experts" in output
    assert processes_of(own_bundle) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_demo_leaves_nothing_behind(own_bundle: Path, number: signal.Signals) -> None:
    demo = start_demo(own_bundle)
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith("coordinator: "):
            break
    left = processes_of(own_bundle)
    assert len(left) >= 3
    demo.send_signal(number)
    demo.communicate(timeout=60)
    _, alive = psutil.wait_procs(left, timeout=30)
    assert alive == []


def processes_of(bundle: Path) -> list[psutil.Process]:
    """Every process whose command line names this bundle's folder."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(bundle) in (process.info["cmdline"] or []) and process.status() != psutil.STATUS_ZOMBIE
    ]


def test_sigterm_lets_a_running_answer_finish(bundle: Path) -> None:
    with running_workers(bundle, ["0-255"]) as workers, Children() as children:
        coordinator = start_coordinator(children, bundle, workers)
        coordinator.ready()
        chunks = _stream_and_stop(coordinator)
        assert coordinator.process.wait(60) == 0
    assert chunks[-1] == "data: [DONE]"


def _stream_and_stop(coordinator: Child) -> list[str]:
    lines: list[str] = []
    body = {"messages": QUESTION, "max_tokens": 40, "stream": True, "temperature": 0}
    url = f"{coordinator.listening()}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=60) as response:
        for line in filter(None, response.iter_lines()):
            if len(lines) == 1:
                coordinator.process.send_signal(signal.SIGTERM)
            lines.append(line)
    return lines
