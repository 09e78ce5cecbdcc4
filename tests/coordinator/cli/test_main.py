"""Coordinators that cannot start: what they say, in one message a person can act on."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jangtq_coordinator.cli.main import main
from jangtq_proto.addresses import Address
from tests.support.cluster_processes import run_coordinator, running_workers, start_alone
from tests.support.forks import processes
from tests.support.reference_bundles import Variant


def refused(*arguments: str) -> str:
    """What a coordinator says that will not start."""
    result = run_coordinator(*arguments)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


def serve_arguments(bundle: Path, *workers: Address) -> list[str]:
    addresses = ",".join(map(str, workers))
    return ["serve", "--model", str(bundle), "--workers", addresses, "--port", "0", "--connect-timeout", "1"]


def test_nobody_there_is_said_for_every_worker(demo_bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        free = [Address("127.0.0.1", s.getsockname()[1]) for s in (one, two)]
    said = refused(*serve_arguments(demo_bundle, *free))
    assert all(f"worker {address}: no answer within 1 s" in said for address in free)


def test_experts_held_by_nobody_are_named(demo_bundle: Path) -> None:
    with running_workers(demo_bundle, ["0-99", "130-255"]) as workers:
        said = refused(*serve_arguments(demo_bundle, *workers))
    assert f"no worker holds experts 100-129; {workers[0]} holds 0-99; {workers[1]} holds 130-255" in said


def test_workers_of_two_bundles_are_refused(
    demo_bundle: Path, reference_bundle: Callable[[Variant], Path]
) -> None:
    other = reference_bundle(Variant.JANGTQ2)
    with running_workers(demo_bundle, ["0-127"]) as ours, running_workers(other, ["128-255"]) as theirs:
        said = refused(*serve_arguments(demo_bundle, *ours, *theirs))
    assert f"worker {theirs[0]} holds another bundle" in said


def test_a_port_in_use_is_said(demo_bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused("serve", "--model", str(demo_bundle), "--experts", "0-255", "--port", port)
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in said


def refused_here(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The same of the command in this process, for what is refused before anything starts."""
    with pytest.raises(SystemExit) as ended:
        sys.exit(main(arguments))
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --workers HOST:PORT,... or --experts RANGES"),
        (["--experts", "0-256"], "experts 256 are outside the model"),
        (["--workers", "nonsense:port"], "write HOST:PORT"),
        (["--experts", "0-255", "--host", "0.0.0.0"], "--insecure"),
    ],
)
def test_a_coordinator_that_cannot_start_says_why(
    demo_bundle: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused_here(capsys, "serve", "--model", str(demo_bundle), "--port", "0", *arguments)


def test_a_prompt_cache_in_use_is_said_with_its_user(demo_bundle: Path, tmp_path: Path) -> None:
    """A killed coordinator leaves the folder to the next one."""
    kept = ["--prompt-cache-dir", str(tmp_path / "kept")]
    with processes() as children:
        first = start_alone(children, demo_bundle, kept)
        said = refused("serve", "--model", str(demo_bundle), "--experts", "0-255", "--port", "0", *kept)
        assert f"--prompt-cache-dir {tmp_path / 'kept'} cannot be used" in said
        assert f"the process {first.process.pid} uses it" in said
        first.process.kill()
        first.process.wait()
        start_alone(children, demo_bundle, kept)
