"""What other servers' own tools left in a conversation, as text; and the tools themselves, left out.

The model cannot call them and this server does not run them, but their results are part of the conversation.
"""

import json
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final

_log = logging.getLogger("jangtq.api")
# Names of an item, and what only the server that made it can read.
_UNREADABLE: Final = ("type", "id", "status", "encrypted_content", "encrypted_index", "cache_control")
_warned: set[str] = set()


def item_text(item: Mapping[str, object]) -> str:
    """One call or result of such a tool, for the model to read."""
    members = {key: value for key, value in item.items() if key not in _UNREADABLE and value is not None}
    return f"[{item.get('type')}] {json.dumps(members, ensure_ascii=False)}"


def keep_functions(tools: object, is_function: Callable[[Mapping[str, object]], bool]) -> object:
    """The tools that the model can be offered; of the others the log has a warning, once for each type."""
    if not isinstance(tools, list):
        return tools
    others = [tool for tool in tools if isinstance(tool, Mapping) and not is_function(tool)]
    warn_of({str(tool.get("type")) for tool in others})
    return [tool for tool in tools if tool not in others]


def warn_of(types: Collection[str]) -> None:
    """Say in the log that tools were left out."""
    if new := sorted(set(types) - _warned):
        _log.warning(
            "tools of type %s are left out of prompts: only functions, which the client runs, can be called",
            ", ".join(new),
        )
        _warned.update(new)
