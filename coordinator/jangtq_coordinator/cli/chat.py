"""`jangtq-coord chat`: a conversation with a running coordinator in the terminal."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from jangtq_coordinator.cli.admin_client import CoordinatorAnswerError
from jangtq_coordinator.cli.chat_stream import chat_chunks
from jangtq_coordinator.cli.running_settings import ChatSettings
from jangtq_coordinator.cli.terminal import AnswerPrinter, FoldingPrinter, Printer, dim

HELP: Final = "/new begins anew, /retry asks again, /undo forgets the last turn, /help, /quit or Ctrl-D ends"
_PROMPT: Final = ">> "

Message = dict[str, object]


@dataclass
class Conversation:
    """Messages so far; the system message stays first."""

    system: str | None = None
    messages: list[Message] = field(default_factory=list)

    def sent(self) -> list[Message]:
        """What the server gets."""
        system: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *self.messages]

    def ask(self, text: str) -> None:
        self.messages.append({"role": "user", "content": text})

    def answer(self, reasoning: str, content: str) -> None:
        """Add an answer; interleaved thinking wants its reasoning back."""
        self.messages.append({"role": "assistant", "content": content, "reasoning_content": reasoning})

    def undo(self) -> str | None:
        """Forget the last question with its answer; returns the question."""
        while self.messages:
            last = self.messages.pop()
            if last["role"] == "user":
                return str(last["content"])
        return None


def chat(settings: ChatSettings, read: Callable[[str], str] | None = None) -> None:
    """Talk until the input ends. Raises CoordinatorAnswerError where the coordinator cannot be reached."""
    conversation = Conversation(settings.system)
    if sys.stdin.isatty():
        print(dim(HELP), flush=True)
    for text in _questions(conversation, read or _reader()):
        conversation.ask(text)
        try:
            reasoning, content = _answer(settings, conversation)
        except KeyboardInterrupt:
            conversation.undo()
            print(dim("\nstopped; the question is forgotten"), flush=True)
        except CoordinatorAnswerError as error:
            conversation.undo()
            if not sys.stdin.isatty():
                raise
            print(f"{error}\n{dim('the question is forgotten; ask again')}", file=sys.stderr, flush=True)
        else:
            conversation.answer(reasoning, content)


def _reader() -> Callable[[str], str]:
    """Lines with editing and history at a terminal, plain lines otherwise."""
    if not sys.stdin.isatty():
        return lambda _: input()
    import readline  # noqa: F401  input() edits lines once it is loaded

    return input


def _questions(conversation: Conversation, read: Callable[[str], str]) -> Iterator[str]:
    """What the user asks; commands are obeyed here."""
    while True:
        try:
            text = read(_PROMPT).strip()
        except (EOFError, KeyboardInterrupt):
            print(flush=True)
            return
        if text == "/quit":
            return
        if text.startswith("/"):
            again = _obey(conversation, text)
            if again is None:
                continue
            text = again
        if text:
            yield text


def _obey(conversation: Conversation, command: str) -> str | None:
    """A question to ask again, if that was the command."""
    if command == "/new":
        conversation.messages.clear()
    elif command == "/undo":
        conversation.undo()
    elif command == "/retry":
        return conversation.undo()
    else:
        print(HELP if command == "/help" else f"unknown: {command}; {HELP}", flush=True)
    return None


def _answer(settings: ChatSettings, conversation: Conversation) -> tuple[str, str]:
    options: dict[str, object] = {"max_tokens": settings.max_tokens}
    if settings.temperature is not None:
        options["temperature"] = settings.temperature
    printer: Printer = AnswerPrinter() if settings.thinking else FoldingPrinter()
    reasoning = content = ""
    for chunk in chat_chunks(settings.url, conversation.sent(), options):
        for choice in chunk.choices:
            printer.reasoning(choice.delta.reasoning_content)
            printer.content(choice.delta.content)
            reasoning += choice.delta.reasoning_content
            content += choice.delta.content
            if choice.finish_reason == "length":
                print(dim("\n[cut: --max-tokens reached]"), end="", flush=True)
    if isinstance(printer, FoldingPrinter):
        printer.fold()
    print(flush=True)
    return reasoning, content
