"""The commands that ask a running coordinator: what their help says, and what they say of keys."""

import httpx
import pytest

from jangtq_coordinator.cli import admin_client as running
from jangtq_coordinator.cli.admin_client import CoordinatorAnswerError
from jangtq_coordinator.cli.command_settings import KEY_VARIABLE, TraceSettings
from jangtq_coordinator.cli.main import program
from jangtq_coordinator.config import MOST_TRACE_SECONDS
from jangtq_proto.errors import ConfigurationError


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        program().read([command, "--help"])
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", ["add", "drain", "trace"])
def test_help_says_where_the_key_comes_from(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"wants a key, in the environment variable {KEY_VARIABLE}" in help_of(command, capsys)


def test_help_of_traces_says_limits_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    told = help_of("trace", capsys)
    assert "(above 0, up to 60 seconds)" in told and "where to write it (default: trace.json)" in told


@pytest.mark.parametrize("seconds", [0, -1, MOST_TRACE_SECONDS + 1, float("nan")])
def test_seconds_that_no_coordinator_takes_are_refused_here(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="--seconds .*: allowed are above 0, up to 60 seconds"):
        TraceSettings(seconds=seconds)


@pytest.mark.parametrize("key", [None, "", " jangtq-1\n"])
def test_the_key_of_the_environment_is_sent_and_named(
    key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    if key is not None:
        monkeypatch.setenv(KEY_VARIABLE, key)
    sent: list[httpx.Request] = []

    def answer(client: httpx.Client, request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(401, json={"error": {"message": "send it as Authorization: Bearer KEY"}})

    monkeypatch.setattr(httpx.Client, "send", answer)
    with pytest.raises(CoordinatorAnswerError) as caught:
        running.post("http://10.0.0.1:8080", "/cluster/workers", {"worker": "a"})
    said = str(caught.value)
    assert "http://10.0.0.1:8080 answered 401: " in said and KEY_VARIABLE in said
    assert "Bearer" not in said and "jangtq-1" not in said
    assert sent[0].headers.get("Authorization") == ("Bearer jangtq-1" if key else None)
