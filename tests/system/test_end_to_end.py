"""The whole system as users run it: real processes, real gRPC, real HTTP, the official client."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from jangtq_bundle.models import demo_model
from jangtq_coordinator.cli.command_settings import DemoSettings
from jangtq_coordinator.cli.demo import run
from jangtq_coordinator.cli.demo.processes import Child
from jangtq_coordinator.metrics.trace_events import ENGINE, REQUESTS
from tests.support.cluster_processes import run_coordinator, running_workers, start_coordinator
from tests.support.forks import processes
from tests.support.trace_checks import durations, read_trace

QUESTION: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def own_bundle(demo_bundle: Path, tmp_path: Path) -> Path:
    """The same bundle in a folder of its own, by which a test's processes can be told from others."""
    return Path(shutil.copytree(demo_bundle, tmp_path / "demo-model"))


@pytest.fixture(scope="module")
def base_url(demo_bundle: Path) -> Iterator[str]:
    with running_workers(demo_bundle, ["0-127", "128-255"]) as addresses, processes() as children:
        coordinator = start_coordinator(children, demo_bundle, addresses)
        coordinator.ready()
        yield coordinator.listening()


@pytest.fixture
def client(base_url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0)


UNIT: dict[str, object] = {
    "type": "object",
    "properties": {"unit": {"enum": ["C", "F"]}},
    "required": ["unit"],
}


def test_a_call_can_be_demanded_through_every_api(client: openai.OpenAI, base_url: str) -> None:
    """Whatever the model would say: its reasoning is free, so it is asked for none."""
    chat: Any = client.chat.completions.create(
        model="demo-model",
        messages=QUESTION,
        tools=[{"type": "function", "function": {"name": "weather", "parameters": UNIT}}],
        tool_choice="required",
        parallel_tool_calls=False,
        extra_body={"chat_template_kwargs": {"enable_thinking": False}},
    )
    response = client.responses.create(
        model="demo-model",
        input="Hello",
        tools=[{"type": "function", "name": "weather", "parameters": UNIT, "strict": True}],
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
        reasoning={"effort": "none"},
    )
    with anthropic.Anthropic(base_url=base_url, api_key="none", max_retries=0) as other:
        message = other.messages.create(
            model="demo-model",
            max_tokens=500,
            messages=[{"role": "user", "content": "Hello"}],
            tools=[{"name": "weather", "input_schema": UNIT}],
            tool_choice={"type": "any", "disable_parallel_tool_use": True},
        )
    (call,), (item,), (block,) = chat.choices[0].message.tool_calls, response.output, message.content
    assert item.type == "function_call" and block.type == "tool_use"
    arguments = [json.loads(call.function.arguments), json.loads(item.arguments), block.input]
    assert all(one in ({"unit": "C"}, {"unit": "F"}) for one in arguments)


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
    assert set(health.json()["dense"]) == {"products", "nbytes"}
    cluster = httpx.get(f"{base_url}/cluster").json()
    assert [worker["experts"] for worker in cluster["workers"]] == ["0-127", "128-255"]


def test_a_trace_shows_where_the_time_of_a_request_went(
    client: openai.OpenAI, base_url: str, tmp_path: Path
) -> None:
    answer = client.chat.completions.with_raw_response.create(
        model="demo-model", messages=QUESTION, max_tokens=5
    )
    tokens = answer.parse().usage
    assert tokens is not None
    file = tmp_path / "trace.json"
    done = run_coordinator(
        "trace", "--url", base_url, "--request", answer.headers["x-request-id"], "-o", str(file)
    )
    assert done.returncode == 0, done.stderr
    assert str(file) in done.stdout
    trace = read_trace(file)
    decoding = durations(trace, ENGINE, "decode pass")
    layers = httpx.get(f"{base_url}/cluster").json()["layers"]
    assert len(decoding) == tokens.completion_tokens - 1
    assert len(durations(trace, ENGINE, "layer")) >= len(layers) * (1 + len(decoding))
    assert sum(durations(trace, ENGINE, "layer")) <= sum(durations(trace, REQUESTS, "request"))


def test_a_trace_of_an_unknown_request_is_refused(base_url: str, tmp_path: Path) -> None:
    done = run_coordinator(
        "trace", "--url", base_url, "--request", "nobody", "-o", str(tmp_path / "trace.json")
    )
    assert done.returncode == 2
    assert "'nobody'" in done.stderr
    assert not list(tmp_path.iterdir())


def test_metrics_and_heat_follow_the_answers(client: openai.OpenAI, base_url: str) -> None:
    before = samples(base_url)
    answer = client.chat.completions.create(model="demo-model", messages=QUESTION, max_tokens=8)
    assert answer.usage is not None
    now = samples(base_url)
    tokens = "jangtq_completion_tokens_total"
    assert now[tokens] - before[tokens] == answer.usage.completion_tokens
    assert (
        now["jangtq_prompt_tokens_total"] - before["jangtq_prompt_tokens_total"] == answer.usage.prompt_tokens
    )
    assert now["jangtq_first_token_seconds_count"] - before["jangtq_first_token_seconds_count"] == 1
    assert now['jangtq_layer_stage_seconds_bucket{le="+Inf",stage="wire"}'] > 0
    assert 'jangtq_requests{stage="decoding"}' in now and "jangtq_held_up_seconds_count" in now
    assert now['jangtq_passes_total{ran="whole"}'] > 0
    assert now['jangtq_overlap{passes="prefill 64"}'] in (0, 1)
    assert now["jangtq_overlap_trials_total"] >= 0 <= now["jangtq_overlap_trial_seconds_total"]
    workers = httpx.get(f"{base_url}/cluster").json()["workers"]
    for name, times in ((worker["name"], worker["times"]) for worker in workers):
        assert now[f'jangtq_worker_picks_total{{worker="{name}"}}'] > 0
        assert now[f'jangtq_dispatch_seconds_count{{worker="{name}"}}'] > 0
        assert 0 < times["round_trip_ms"] <= times["wait_p50_ms"] <= times["wait_p99_ms"]
    assert now["jangtq_uncovered_experts"] == 0
    heat = httpx.get(f"{base_url}/cluster/heat").json()
    rows = {sum(layer) for layer in heat["layers"]}
    # Every layer picks as many experts for a token.
    assert len(heat["layers"][0]) == 256 and len(rows) == 1 and rows.pop() > 0


def samples(base_url: str) -> dict[str, float]:
    """The sample of each name with its labels."""
    families = text_string_to_metric_families(httpx.get(f"{base_url}/metrics").text)
    return {named(sample): sample.value for family in families for sample in family.samples}


def named(sample: Sample) -> str:
    labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
    return f"{sample.name}{{{labels}}}" if labels else sample.name


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


def test_generate_answers_in_the_terminal_without_workers(demo_bundle: Path) -> None:
    arguments = ["--prompt", "Hello", "--max-tokens", "8", "--seed", "1"]
    first, second = (
        run_coordinator("generate", "--model", str(demo_bundle), "--experts", "0-255", *arguments)
        for _ in range(2)
    )
    assert first.returncode == 0, first.stderr
    assert "tokens in" in first.stderr
    assert first.stdout == second.stdout != ""


def start_demo(bundle: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "jangtq_coordinator", "demo", "--model", str(bundle)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_the_demo_explains_calculates_calls_a_tool_and_leaves_nothing_behind(tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(demo_model(), tmp_path / "own-demo"))
    demo = start_demo(bundle)
    output, _ = demo.communicate(timeout=240)
    assert demo.returncode == 0, output
    explanation = next(line for line in output.splitlines() if line.startswith("Photosynthesis is"))
    assert explanation.count(". ") == 4
    assert "\n> 6 lines of reasoning\n4821 + 3579 = 8400.\n" in output
    call = 'calculate({"expression": "4821 * 3579"}) -> {"result": 17254359}'
    assert f"  {call}\n> 1 line of reasoning\nThe result is 17254359.\n" in output
    assert "tokens/s" in output
    assert "attention   dispatch    experts" in output
    assert processes_of(bundle) == []


def test_the_demo_asks_one_question_of_any_bundle(
    demo_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "Children", processes)
    run.run_demo(DemoSettings(model=demo_bundle, prompt="Hello", max_tokens=12))
    output = capsys.readouterr().out
    assert ">> Hello\n" in output and " tokens, first after" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
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


def test_whatever_ends_a_coordinator_lets_a_running_answer_finish(demo_bundle: Path) -> None:
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    with running_workers(demo_bundle, ["0-255"]) as workers, processes() as children:
        coordinators = [start_coordinator(children, demo_bundle, workers) for _ in signals]
        for number, coordinator in zip(signals, coordinators, strict=True):
            coordinator.ready()
            assert _stream_and_stop(coordinator, number)[-1] == "data: [DONE]"
            assert coordinator.process.wait(60) == 0


def _stream_and_stop(coordinator: Child, number: signal.Signals) -> list[str]:
    lines: list[str] = []
    body = {"messages": QUESTION, "max_tokens": 40, "stream": True, "temperature": 0}
    url = f"{coordinator.listening()}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=60) as response:
        for line in filter(None, response.iter_lines()):
            if len(lines) == 1:
                coordinator.process.send_signal(number)
            lines.append(line)
    return lines
