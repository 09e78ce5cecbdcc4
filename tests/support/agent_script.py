"""The model's side of an agent's conversation: two tools, parallel calls, thinking between them."""

import json
import re
from typing import Any

QUESTION = "How much warmer is Köln than Oslo?"
WEATHER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
SUBTRACT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "number"}, "b": {"type": "number"}, "note": {"type": ["string", "null"]}},
    "required": ["a", "b"],
}
THOUGHTS = ("Two cities,\ntwo calls.", "Now 17 minus 4.", "13 it is.")
CALLS: list[list[tuple[str, dict[str, Any]]]] = [
    [("weather", {"city": " Köln\n", "days": 2}), ("weather", {"city": "null"})],
    [("subtract", {"a": 17, "b": 4, "note": "</parameter> is text"})],
]
ANSWER = "Köln is 13 degrees warmer."


def run_tool(name: str, arguments: dict[str, Any]) -> str:
    """The client's side of a call."""
    if name == "weather":
        return "17" if "Köln" in arguments["city"] else "4"
    return str(arguments["a"] - arguments["b"])


def reply(prompt: str) -> str:
    """The next answer; it complains where a prompt does not hold what was said before."""
    results = re.findall(r"<response>(.*?)</response>", prompt)
    turn = {0: 0, 2: 1, 3: 2}[len(results)]
    for thought in THOUGHTS[:turn]:
        if f"<think>\n{thought}\n</think>\n\n" not in prompt:
            return f"</think>\n\nThe thought {thought!r} is lost."
    if (
        any(_block(calls) not in prompt for calls in CALLS[:turn])
        or results != ["17", "4", "13"][: len(results)]
    ):
        return "</think>\n\nCalls or results are lost."
    end = "Let me see." + _block(CALLS[turn]) if turn < 2 else ANSWER
    return f"{THOUGHTS[turn]}\n</think>\n\n{end}"


def _block(calls: list[tuple[str, dict[str, Any]]]) -> str:
    """As the chat template writes it."""
    return "\n<minimax:tool_call>\n" + "".join(map(_invoke, calls)) + "</minimax:tool_call>"


def _invoke(call: tuple[str, dict[str, Any]]) -> str:
    name, arguments = call
    values = {key: v if isinstance(v, str) else json.dumps(v) for key, v in arguments.items()}
    parameters = "".join(f'<parameter name="{key}">{text}</parameter>\n' for key, text in values.items())
    return f'<invoke name="{name}">\n{parameters}</invoke>\n'
