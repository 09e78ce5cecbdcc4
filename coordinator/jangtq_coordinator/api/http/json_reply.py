"""JSON as it is sent. Knows no API's form."""

import json

from pydantic_core import PydanticSerializationError, to_json
from starlette.responses import JSONResponse


def encode(value: object) -> bytes:
    """Compact UTF-8; a lone surrogate, which a request may contain escaped, stays escaped."""
    try:
        return to_json(value)
    except PydanticSerializationError:
        return json.dumps(value, separators=(",", ":")).encode()


class JsonReply(JSONResponse):
    """A whole body."""

    def render(self, content: object) -> bytes:
        return encode(content)
