"""A coordinator that is killed in the middle of an answer and started again: conversations go on."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from jangtq_coordinator.cli.demo.processes import Child, Children
from jangtq_proto.addresses import Address
from tests.support.cluster_processes import running_workers, start_coordinator
from tests.support.forks import processes
from tests.support.streamed_load import Load, Question

Message = dict[str, str]
SYSTEM = "Answer shortly. " * 20
"""Longer than a block of kept tokens."""
TURNS = ("How are you?", "And how were you?", "What was my first question?")
ENDLESS = Question("Tell me a long story.", 1500)


@dataclass
class Turn:
    """What was said, of which so many tokens had been kept."""

    text: str
    cached_tokens: int
    prompt_tokens: int


def say(url: str, conversation: list[Message], text: str) -> Turn:
    """One more turn of a conversation, which grows by what both say."""
    conversation.append({"role": "user", "content": text})
    body = {"messages": conversation, "temperature": 0, "max_tokens": 40}
    told = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=120).raise_for_status().json()
    answer = told["choices"][0]["message"]["content"] or ""
    conversation.append({"role": "assistant", "content": answer})
    usage = told["usage"]
    return Turn(answer, usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"])


def begin() -> list[Message]:
    return [{"role": "system", "content": SYSTEM}]


@pytest.fixture(scope="module")
def workers(small_bundle: Path) -> Iterator[Sequence[Address]]:
    with running_workers(small_bundle, ["0-15", "16-31"]) as addresses:
        yield addresses


def start(children: Children, bundle: Path, workers: Sequence[Address], kept: Path) -> Child:
    coordinator = start_coordinator(children, bundle, workers, ["--prompt-cache-dir", str(kept)])
    coordinator.ready()
    return coordinator


async def break_off(coordinator: Child) -> list[str]:
    """Kill it in the middle of several answers; returns how they failed, as their clients see it."""
    load = Load(coordinator.listening())
    asking = asyncio.create_task(load.ask_each_once([ENDLESS] * 4))
    while not load.arrivals:
        await asyncio.sleep(0)
    coordinator.process.kill()
    await asking
    return load.failures


async def test_conversations_go_on_from_disk_after_the_coordinator_was_killed(
    small_bundle: Path, workers: Sequence[Address], tmp_path: Path
) -> None:
    with processes() as children:
        undisturbed = start(children, small_bundle, workers, tmp_path / "other").listening()
        conversation = begin()
        expected = [say(undisturbed, conversation, text) for text in TURNS]

        first = start(children, small_bundle, workers, tmp_path / "kept")
        conversation = begin()
        before = [say(first.listening(), conversation, text) for text in TURNS[:2]]
        while not list((tmp_path / "kept").glob("*/*.safetensors")):
            await asyncio.sleep(0.05)
        failures = await break_off(first)
        assert failures and all("RemoteProtocolError" in failure for failure in failures)

        second = start(children, small_bundle, workers, tmp_path / "kept")
        last = say(second.listening(), conversation, TURNS[2])
    assert [*(turn.text for turn in before), last.text] == [turn.text for turn in expected]
    assert before[0].cached_tokens == 0 < before[1].cached_tokens
    assert 256 <= last.cached_tokens < last.prompt_tokens
