"""Addresses as users type them."""

import re

import pytest

from jangtq_proto.addresses import Address, parse_address, parse_addresses
from jangtq_proto.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:7700", Address("127.0.0.1", 7700)),
        ("mac-studio.local:1", Address("mac-studio.local", 1)),
        ("[::1]:7700", Address("::1", 7700)),
        ("unix:/tmp/a.sock", Address("unix:/tmp/a.sock", 0)),
    ],
)
def test_an_address_is_read_and_written_back(text: str, expected: Address) -> None:
    assert parse_address(text) == expected
    assert str(expected) == text


def test_a_missing_port_takes_the_default() -> None:
    assert parse_address("192.168.1.20", default_port=7700) == Address("192.168.1.20", 7700)


@pytest.mark.parametrize("text", ["", "host", ":1", "host:x", "host:70000", "unix:"])
def test_a_bad_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match="HOST:PORT"):
        parse_address(text)


def test_a_worker_named_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="twice"):
        parse_addresses("a:1,b:1,a:1")


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/x", True),
        ("0.0.0.0:1", False),
        ("192.168.1.1:1", False),
        ("localhost.example.org:1", False),
    ],
)
def test_only_loopback_counts_as_loopback(address: str, loopback: bool) -> None:
    assert parse_address(address).is_loopback is loopback


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("http://a:1", "leave out the scheme: a:1"),
        ("a:1 b:2", "separate addresses by commas: a:1,b:2"),
        ("27710", "did you mean 127.0.0.1:27710?"),
    ],
)
def test_what_is_probably_meant_is_said(text: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(hint)):
        parse_address(text, default_port=7700)
