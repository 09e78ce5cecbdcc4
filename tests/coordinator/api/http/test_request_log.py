"""Request ids, and the line that each request leaves in the log."""

import json
import logging
from collections.abc import AsyncIterator

import pytest

from jangtq_coordinator import logs
from jangtq_coordinator.api.http.request_metrics import RequestMetrics
from tests.support.api_server import Served, serving
from tests.support.running_engine import until

CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}


@pytest.fixture
async def served(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Served]:
    caplog.set_level(logging.INFO, logger="jangtq")
    async with serving() as running:
        yield running


def facts(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [logs.facts_of(record) for record in caplog.records if record.name == "jangtq.access"]


async def test_an_id_is_made_or_taken(served: Served) -> None:
    made = (await served.http.get("/v1/models")).headers["x-request-id"]
    assert made.startswith("req_")
    assert (await served.http.get("/v1/models")).headers["x-request-id"] != made
    for given, taken in (("abc-1.2:x_Y", True), ("a b", False), ("x" * 129, False)):
        reply = await served.http.get("/nothing", headers={"X-Request-Id": given})
        assert (reply.headers["x-request-id"] == given) == taken
        assert reply.headers["request-id"] == reply.headers["x-request-id"]


async def test_the_line_of_an_answer(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    answer = (await served.http.post("/v1/chat/completions", json=CHAT)).json()
    (line,) = facts(caplog)
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/chat/completions", 200)
    assert line["prompt_tokens"] == answer["usage"]["prompt_tokens"]
    assert line["completion_tokens"] == answer["usage"]["completion_tokens"]
    assert line["end"] == answer["choices"][0]["finish_reason"]
    queued, first, whole = (line[f"{part}seconds"] for part in ("queue_", "first_token_", ""))
    assert 0 <= queued <= first <= whole  # type: ignore[operator]


async def test_the_line_of_a_client_that_left(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    async with served.http.stream(
        "POST", "/v1/chat/completions", json=CHAT | {"stream": True, "max_tokens": 300}
    ) as reply:
        await anext(reply.aiter_lines())
    await until(lambda: bool(facts(caplog)))
    (line,) = facts(caplog)
    assert (line["status"], line["end"]) == (200, "cancelled")


async def test_lines_name_no_path_that_a_client_chose(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    await served.http.get("/secret-path?token=1")
    (line,) = facts(caplog)
    assert (line["route"], line["status"]) == ("unknown", 404)
    assert "secret" not in caplog.text


async def test_a_failure_that_nobody_foresaw(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    served.model.failures.append(RuntimeError("the details"))
    reply = await served.http.post("/v1/chat/completions", json=CHAT, headers={"X-Request-Id": "mine"})
    assert (reply.status_code, reply.headers["x-request-id"]) == (500, "mine")
    assert "RuntimeError" in reply.json()["error"]["message"] and "the details" not in reply.text
    assert facts(caplog)[0]["end"] == "failed" and facts(caplog)[0]["error"] == "the details"
    told = [record.getMessage() for record in caplog.records]
    assert "a prefill pass of request mine failed: the details" in told
    assert "POST /v1/chat/completions failed" in told


async def test_metrics_count_requests_and_tokens() -> None:
    metrics = RequestMetrics()
    async with serving(metrics=metrics) as served:
        usage = (await served.http.post("/v1/chat/completions", json=CHAT)).json()["usage"]
        await served.http.get("/nothing")

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    assert value("jangtq_http_requests_total", route="/v1/chat/completions", status="200") == 1
    assert value("jangtq_http_requests_total", route="unknown", status="404") == 1
    assert value("jangtq_prompt_tokens_total") == usage["prompt_tokens"]
    assert value("jangtq_completion_tokens_total") == usage["completion_tokens"]
    assert value("jangtq_first_token_seconds_count") == 1
    assert value("jangtq_between_tokens_seconds_count") == usage["completion_tokens"] - 1


def test_a_line_as_json_and_as_text() -> None:
    record = logging.makeLogRecord(
        {"name": "jangtq.x", "levelno": logging.INFO, "levelname": "INFO", "msg": "a %s", "args": ("\n",)}
        | {"facts": {"status": 200, "key": None, "error": "two\nlines"}}
    )
    token = logs.request_id.set("req_1")
    try:
        line, text = logs.JsonFormatter().format(record), logs.TextFormatter().format(record)
    finally:
        logs.request_id.reset(token)
    assert "\n" not in line
    members = json.loads(line)
    assert members.pop("time").endswith("+00:00")
    assert members == {
        "level": "info",
        "logger": "jangtq.x",
        "message": "a \n",
        "request_id": "req_1",
        "status": 200,
        "key": None,
        "error": "two\nlines",
    }
    assert text.endswith('jangtq.x INFO a \n request_id=req_1 status=200 error="two\\nlines"')
