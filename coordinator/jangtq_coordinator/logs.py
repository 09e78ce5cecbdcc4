"""What log lines look like, as text or as JSON, each with the id of the request it belongs to."""

import contextvars
import json
import logging
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

request_id: Final = contextvars.ContextVar("request_id", default="")
"""The id of the request that the running task serves."""


class LogFormat(StrEnum):
    """The values of `--log-format`."""

    TEXT = "text"
    JSON = "json"


class JsonFormatter(logging.Formatter):
    """One object a line; a record's `facts` become members of it."""

    def format(self, record: logging.LogRecord) -> str:
        members: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        members |= _id_of(record) | facts_of(record)
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        return json.dumps(members, default=str)


class TextFormatter(logging.Formatter):
    """One line for people; facts follow the message as name=value."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(name)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        facts = _id_of(record) | facts_of(record)
        shown = "".join(f" {name}={_plain(value)}" for name, value in facts.items() if value is not None)
        return super().formatMessage(record) + shown


def configure(form: LogFormat) -> None:
    """Send all logs to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form is LogFormat.JSON else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def facts_of(record: logging.LogRecord) -> dict[str, object]:
    """The facts logged beside the message, by `extra={"facts": ...}`."""
    facts = getattr(record, "facts", None)
    return facts if isinstance(facts, dict) else {}


def _plain(value: object) -> str:
    """A single word as it is, other text quoted."""
    text = str(value)
    return text if text.isprintable() and " " not in text else json.dumps(text)


def _id_of(record: logging.LogRecord) -> dict[str, object]:
    """The id of the task that logs, since it formats the line."""
    current = request_id.get()
    return {"request_id": current} if current else {}
