"""JSON as it is sent."""

import json

from jangtq_coordinator.api.http.json_reply import JsonReply, encode


def test_text_is_sent_as_compact_utf8() -> None:
    assert encode({"a": "é", "b": [1, None]}) == '{"a":"é","b":[1,null]}'.encode()
    assert JsonReply({"a": 1}).body == b'{"a":1}'


def test_a_lone_surrogate_stays_escaped() -> None:
    assert json.loads(encode({"a": "\ud800"})) == {"a": "\ud800"}
    assert b"\\ud800" in encode("\ud800")
