"""A host that comes back under another address is found by its name, whatever became of the old address."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from jangtq_coordinator.config import Transport
from jangtq_proto.addresses import Address, parse_address
from tests.support.cluster_processes import start_coordinator, start_worker
from tests.support.forks import processes
from tests.support.needs import require
from tests.support.network_hosts import NAMESPACES, Host, network_hosts

NAME = "mac-b.test"
OPTIONS = ["--no-unix-sockets", "--call-timeout", "600"]
"""Nothing that ends a silent call helps within the test."""
PATIENCE_SECONDS = 60


class Names:
    """A file of hosts that stands in the place of /etc/hosts, for the commands `under` it alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.under = (
            "unshare",
            "--mount",
            "sh",
            "-c",
            'mount --bind "$0" /etc/hosts && exec "$@"',
            str(path),
        )

    def say(self, address: str) -> None:
        """The name stands for this address from now on; the file stays the same one."""
        self._path.write_text(f"127.0.0.1 localhost\n{address} {NAME}\n")


@pytest.fixture
def host() -> Iterator[Host]:
    require(NAMESPACES)
    with network_hosts(1) as (made,):
        yield made


def answer(url: str) -> str:
    asked = {"model": "demo-model", "prompt": "The name of", "max_tokens": 8, "temperature": 0}
    response = httpx.post(f"{url}/v1/completions", json=asked, timeout=PATIENCE_SECONDS)
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["text"])


@pytest.mark.parametrize("transport", Transport)
def test_a_worker_whose_name_means_another_address_is_asked_there(
    transport: Transport, demo_bundle: Path, host: Host, tmp_path: Path
) -> None:
    names = Names(tmp_path / "hosts")
    names.say(host.address)
    with processes() as children:
        worker = start_worker(
            children, demo_bundle, "0-255", listen="0.0.0.0:0", options=["--insecure"], under=host.under
        )
        worker.ready()
        reached_at = Address(NAME, parse_address(worker.listening()).port)
        options = [*OPTIONS, "--transport", transport]
        coordinator = start_coordinator(children, demo_bundle, [reached_at], options, under=names.under)
        coordinator.ready()
        url = coordinator.listening()
        before = answer(url)
        host.move()
        names.say(host.other_address)
        assert answer(url) == before
