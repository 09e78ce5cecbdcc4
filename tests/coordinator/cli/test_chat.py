"""`jangtq-coord chat` against a real API: what is sent back, commands, and what an error costs."""

import asyncio
from collections.abc import Callable

import pytest

from jangtq_coordinator.cli.admin_client import CoordinatorAnswerError
from jangtq_coordinator.cli.chat import Conversation, chat
from jangtq_coordinator.cli.running_settings import ChatSettings
from tests.support.api_server import answering


def typing(*lines: str) -> Callable[[str], str]:
    """Lines as of a terminal, then its end."""
    left = list(lines)

    def read(prompt: str) -> str:
        if not left:
            raise EOFError
        return left.pop(0)

    return read


async def talk(*lines: str, prompts: list[str] | None = None, **changes: object) -> None:
    def reply(prompt: str) -> str:
        asked = prompt.removesuffix("<think>\n")
        if prompts is not None and asked not in prompts:
            prompts.append(asked)
        return "Let me see.\nYes.</think>Forty-two."

    async with answering(reply) as served:
        settings = ChatSettings(url=f"http://127.0.0.1:{served.port}", **changes)  # type: ignore[arg-type]
        await asyncio.to_thread(chat, settings, typing(*lines))


async def test_a_conversation_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    prompts: list[str] = []
    await talk("What is it?", "", "Again?", prompts=prompts, system="Be brief.")
    assert capsys.readouterr().out.count("Forty-two.\n") == 2
    first, second = prompts
    assert "Be brief." in first and "What is it?" in second and "Forty-two." in second


async def test_reasoning_is_folded_unless_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    await talk("What?")
    assert "Let me see." not in capsys.readouterr().out
    await talk("What?", thinking=True)
    assert "Let me see." in capsys.readouterr().out


async def test_a_new_conversation_knows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    prompts: list[str] = []
    await talk(
        "Remember the heron.", "/new", "What?", "/retry", "/help", "/what", "/quit", "no", prompts=prompts
    )
    first, second = prompts
    assert "heron" in first and "heron" not in second
    said = capsys.readouterr().out
    assert said.count("Forty-two.") == 3
    assert said.count("/undo forgets the last turn") == 2 and "unknown: /what" in said


def test_nobody_there_is_one_sentence() -> None:
    settings = ChatSettings(url="http://127.0.0.1:1")
    with pytest.raises(CoordinatorAnswerError, match="is `jangtq-coord serve` running there"):
        chat(settings, typing("Hello?"))


def test_undoing_forgets_question_and_answer() -> None:
    conversation = Conversation()
    conversation.ask("One?")
    conversation.answer("", "One.")
    conversation.ask("Two?")
    assert conversation.undo() == "Two?" and conversation.undo() == "One?"
    assert conversation.undo() is None and conversation.sent() == []
