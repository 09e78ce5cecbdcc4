"""What the stand-in for the model says: it does an agent's task with whatever tools the agent offers.

It knows a task by its first words, and how far it is by the results that it has seen since.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

ANSWER: Final = "The file is blue now."
GREETING: Final = "Hello from the stand-in."
TASK: Final = (
    "TASK: in the file {path} replace the word red by blue, then run cat on it and say what it prints."
)

_TASK: Final = re.compile(r"TASK: in the file (\S+) replace")
_SAY: Final = re.compile(r"SAY: (.*?)(?:\[e~\[|\n)", re.DOTALL)
_TOOL: Final = re.compile(r"<tool>(\{.*?\})</tool>\n", re.DOTALL)
_USER: Final = "]~b]user\n"
_READS: Final = ("Read", "read_file", "read", "view")
_EDITS: Final = ("Edit", "edit", "replace", "edit_file")
_RUNS: Final = ("Bash", "bash", "run_shell_command", "exec_command", "shell", "shell_command")
_SHELL: Final = {"command", "cmd"}

Tool = Mapping[str, object]


def reply(prompt: str) -> str:
    """The next answer to a rendered prompt."""
    thought = "I think.\n</think>\n\n" if prompt.rstrip().endswith("<think>") else ""
    return thought + _say(prompt)


def _say(prompt: str) -> str:
    tools = _tools_in(prompt)
    if task := list(_TASK.finditer(prompt)):
        last = task[-1]
        return _work(last[1], tools, prompt, results=_results_in(prompt[last.start() :]))
    turn = prompt.rpartition(_USER)[2]
    if said := _SAY.search(turn):
        return said[1].strip()
    if not tools:
        return GREETING
    if results := _results_in(turn):
        return f"The tool says {results[-1].strip()}."
    return _call(tools[0], {})


def _work(path: str, tools: Sequence[Tool], prompt: str, *, results: Sequence[str]) -> str:
    """The next step: read, edit, run, answer. Without tools an edit is told as aider reads it."""
    if not tools:
        if "SEARCH/REPLACE" not in prompt:
            return GREETING
        return f"{path}\n```\n<<<<<<< SEARCH\nred\n=======\nblue\n>>>>>>> REPLACE\n```\n"
    commands = (f"cat {path}", f"sed -i s/red/blue/ {path}", f"cat {path}")
    if len(results) >= len(commands):
        return ANSWER if "blue" in results[-1] else f"The file is not blue: {results[-1]}"
    known = (_READS, _EDITS, _RUNS)[len(results)]
    values = {"path": path, "old": "red", "new": "blue", "command": commands[len(results)]}
    tool = _named(tools, known) or _named(tools, _RUNS)
    return GREETING if tool is None else _call(tool, values)


def _call(tool: Tool, values: Mapping[str, str]) -> str:
    """A call as the chat template writes it."""
    parameters = tool.get("parameters")
    schema = parameters if isinstance(parameters, Mapping) else {}
    properties, required = schema.get("properties") or {}, schema.get("required") or ()
    filled = {
        name: _value(name, part, values) for name, part in properties.items() if name in required or _of(name)
    }
    lines = "".join(f'<parameter name="{name}">{text}</parameter>\n' for name, text in filled.items())
    return f'\n<minimax:tool_call>\n<invoke name="{tool["name"]}">\n{lines}</invoke>\n</minimax:tool_call>'


def _of(name: str) -> str | None:
    """Which of the task's values a parameter's name asks for."""
    plain = name.lower().replace("_", "")
    if plain in ("filepath", "path", "absolutepath", "file"):
        return "path"
    if plain in ("oldstring", "newstring", "oldtext", "newtext"):
        return plain[:3]
    return "command" if plain in _SHELL else None


def _value(name: str, schema: object, values: Mapping[str, str]) -> str:
    known = values.get(_of(name) or "")
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if known is not None:
        return json.dumps(["bash", "-lc", known]) if kind == "array" else known
    plain = {"boolean": "false", "integer": "1", "number": "1", "array": "[]", "object": "{}"}
    return plain.get(str(kind), "Paris")


def _named(tools: Sequence[Tool], names: Sequence[str]) -> Tool | None:
    by_name = {tool["name"]: tool for tool in tools}
    return next((by_name[name] for name in names if name in by_name), None)


def _tools_in(prompt: str) -> list[Tool]:
    return [json.loads(text) for text in _TOOL.findall(prompt.partition("[e~[")[0])]


def _results_in(text: str) -> list[str]:
    return re.findall(r"<response>(.*?)</response>", text, re.DOTALL)
