"""Brings a conversation into the form that every chat template takes. Knows no API and no tokens.

Templates know one system message, the first: MiniMax-M2's drops any other without a word, the demo's refuses
it. And they pair calls with results by order alone.
"""

import itertools
from collections.abc import Iterable, Sequence

from jangtq_coordinator.api.chat.chat_messages import (
    AssistantMessage,
    ChatMessage,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from jangtq_proto.errors import RequestError

_BETWEEN = "\n\n"


def arrange(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """One system message at most, and results in the order of their calls. Raises RequestError."""
    placed = place_instructions(messages)
    check_results(placed)
    return order_results(placed)


def place_instructions(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The leading system messages as one, and each later one within the turn before it.

    There it keeps its place, so that a kept prompt still fits, and opens no user turn, at which templates
    drop the reasoning of a tool loop. After an answer it goes before the text of the turn that follows.
    """
    count = next((at for at, one in enumerate(messages) if not isinstance(one, SystemMessage)), len(messages))
    placed: list[ChatMessage] = [*_leading(messages[:count])]
    waiting: list[str] = []
    for message in messages[count:]:
        if isinstance(message, SystemMessage):
            _place(message, placed, waiting)
        elif isinstance(message, UserMessage | ToolMessage):
            placed.append(_with(message, _join([*waiting, message.content])))
            waiting.clear()
        else:
            placed += _as_turn(waiting)
            waiting.clear()
            placed.append(message)
    return placed + _as_turn(waiting)


def _leading(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    text = _join(message.content or "" for message in messages)
    return [SystemMessage(role="system", content=text)] if messages else []


def _place(message: SystemMessage, placed: list[ChatMessage], waiting: list[str]) -> None:
    if not message.content:
        return
    text = f"<system>\n{message.content}\n</system>"
    last = placed[-1]
    if isinstance(last, UserMessage | ToolMessage):
        placed[-1] = _with(last, _join([last.content, text]))
    else:
        waiting.append(text)


def _with(message: UserMessage | ToolMessage, text: str) -> ChatMessage:
    return message if message.content == text else message.model_copy(update={"content": text})


def _as_turn(texts: Sequence[str]) -> list[ChatMessage]:
    return [UserMessage(role="user", content=_join(texts))] if texts else []


def _join(texts: Iterable[str]) -> str:
    return _BETWEEN.join(text for text in texts if text)


def check_results(messages: Sequence[ChatMessage]) -> None:
    """Raise RequestError for a result that answers no call, and for calls left without one.

    Without ids, which some clients leave out, only the order pairs calls and results.
    """
    open_calls: dict[str | None, str] = {}
    known: set[str | None] = set()
    for at, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            _check_result(message, at, known)
            answered = message.tool_call_id or next(iter(open_calls), None)
            open_calls.pop(answered, None)
            continue
        _check_answered(open_calls, at)
        calls = message.tool_calls or () if isinstance(message, AssistantMessage) else ()
        known = {call.id for call in calls}
        open_calls = {call.id: call.function.name for call in calls if call.id is not None}
    # Calls at the very end are being continued or were left by a client that stopped: nothing follows them.


def _check_result(message: ToolMessage, at: int, known: set[str | None]) -> None:
    if message.tool_call_id is None or None in known or message.tool_call_id in known:
        return
    names = ", ".join(repr(one) for one in sorted(map(str, known))) or "none"
    raise RequestError(
        f"messages.{at}.tool_call_id: {message.tool_call_id!r} names no call of the assistant message before "
        f"it; the calls there: {names}",
        param=f"messages.{at}.tool_call_id",
    )


def _check_answered(calls: dict[str | None, str], at: int) -> None:
    if calls:
        names = ", ".join(f"{id!r} ({name})" for id, name in calls.items())
        raise RequestError(
            f"messages.{at}: the calls before it have no result: {names}; give a tool message for each, such "
            "as one that says that it was not run",
            param=f"messages.{at}",
        )


def order_results(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The messages with results in the order of their calls, since templates pair them by order alone.

    Results that name no call of the answer before them come after the others.
    """
    ordered: list[ChatMessage] = []
    places: dict[str | None, int] = {}
    for is_results, group in itertools.groupby(messages, key=lambda m: isinstance(m, ToolMessage)):
        turns = list(group)
        if is_results:
            turns.sort(key=lambda turn: places.get(_call_id(turn), len(places)))
        elif isinstance(last := turns[-1], AssistantMessage):
            places = {call.id: place for place, call in enumerate(last.tool_calls or ())}
        else:
            places = {}
        ordered += turns
    return ordered


def _call_id(message: ChatMessage) -> str | None:
    return message.tool_call_id if isinstance(message, ToolMessage) else None


def without_oldest(messages: Sequence[ChatMessage]) -> list[ChatMessage] | None:
    """The conversation without its oldest turn, from one user message to the next; None where one is all."""
    first = next((at for at, one in enumerate(messages) if not isinstance(one, SystemMessage)), len(messages))
    users = [at for at, one in enumerate(messages) if isinstance(one, UserMessage) and at > first]
    return [*messages[:first], *messages[users[0] :]] if users else None
