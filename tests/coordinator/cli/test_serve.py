"""A coordinator that other machines reach: with keys, over HTTPS, its log as JSON; and what it refuses."""

import json
import socket
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import trustme

from jangtq_coordinator.api.http.api_keys import add_key
from jangtq_coordinator.cli.demo.processes import Children
from jangtq_coordinator.cli.serve import check_tls, listen, warn_of_plain_keys
from jangtq_coordinator.config import ServeSettings
from jangtq_proto.errors import ConfigurationError
from tests.support.cluster_processes import start_alone

PEM = Path("x.pem")
QUESTION = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}


@pytest.fixture
def tls_options(tmp_path: Path) -> list[str]:
    """Options with a certificate for localhost, whose authority is in ca.pem."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o600)
    return ["--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")]


def test_keys_https_and_a_log_as_json(demo_bundle: Path, tmp_path: Path, tls_options: list[str]) -> None:
    key = add_key(tmp_path / "keys", "laptop")
    options = [
        "--host",
        "0.0.0.0",
        "--api-keys",
        str(tmp_path / "keys"),
        "--log-format",
        "json",
        *tls_options,
    ]
    with Children() as children:
        coordinator = start_alone(children, demo_bundle, options)
        told = urlsplit(coordinator.listening())
        assert (told.scheme, told.hostname) == ("https", "0.0.0.0")
        url = f"https://localhost:{told.port}/v1/chat/completions"
        verify = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        with httpx.Client(verify=verify, timeout=60) as http:
            assert http.post(url, json=QUESTION).status_code == 401
            headers = {"Authorization": f"Bearer {key}", "X-Request-Id": "mine"}
            assert http.post(url, json=QUESTION, headers=headers).status_code == 200
            assert http.get(url.replace("/v1/chat/completions", "/health/ready")).status_code == 200
        verify.maximum_version = ssl.TLSVersion.TLSv1_2
        with httpx.Client(verify=verify) as http, pytest.raises(httpx.ConnectError, match="SSL"):
            http.get(url)
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"http://localhost:{told.port}/health/live")
    lines = [json.loads(line) for line in coordinator.lines if line.startswith("{")]
    answered = [line for line in lines if line["logger"] == "jangtq.access"]
    assert [(line["status"], line["key"]) for line in answered] == [(401, None), (200, "laptop")]
    assert (answered[1]["request_id"], answered[1]["completion_tokens"]) == ("mine", 2)
    # All but what Children reads is JSON.
    assert {line.split(" ")[0] for line in coordinator.lines if not line.startswith("{")} <= {
        "listening",
        "ready:",
        "stopped",
    }
    assert key not in "\n".join(coordinator.lines)


def test_a_key_that_others_may_read_is_refused(tls_options: list[str]) -> None:
    settings = ServeSettings(tls_certificate=Path(tls_options[1]), tls_key=Path(tls_options[-1]))
    check_tls(settings)
    Path(tls_options[-1]).chmod(0o604)
    with pytest.raises(ConfigurationError, match="others may read it, its mode is 0604: chmod 600"):
        check_tls(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tls_certificate": PEM}, "--tls-cert and --tls-key belong together"),
        ({"tls_certificate": PEM, "tls_key": PEM}, "x.pem cannot be used: No such file or directory"),
        ({"host": "0.0.0.0"}, "give --api-keys FILE, or add --insecure"),
        ({"max_body_bytes": 0}, "--max-body-bytes 0: allowed are 1 and above"),
    ],
)
def test_what_cannot_be_served_is_said(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_tls(ServeSettings(**settings))


@pytest.mark.parametrize(
    ("host", "encrypted", "warns"),
    [("0.0.0.0", False, True), ("::", False, True), ("127.0.0.1", False, False), ("0.0.0.0", True, False)],
)
def test_keys_over_plain_http_are_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, host: str, encrypted: bool, warns: bool
) -> None:
    file = tmp_path / "cert.pem" if encrypted else None
    settings = ServeSettings(host=host, api_keys=tmp_path / "keys", tls_certificate=file, tls_key=file)
    warn_of_plain_keys(settings)
    assert [host in record.getMessage() for record in caplog.records] == [True] * warns


def test_tokens_wait_for_no_acknowledgement() -> None:
    with listen(ServeSettings(port=0)) as listener:
        with pytest.raises(ConnectionRefusedError):  # before the model is loaded
            socket.create_connection(listener.getsockname())
        listener.listen()
        with socket.create_connection(listener.getsockname()):
            connection, _ = listener.accept()
            with connection:
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
