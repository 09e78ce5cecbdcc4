"""`jangtq-coord certs`: what it makes, keeps, renews and says, and a cluster that runs with it."""

import shutil
import stat
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from jangtq_coordinator.cli.certs import make_certificates
from jangtq_coordinator.cli.command_settings import CertsSettings, parse_names
from jangtq_coordinator.cli.demo.processes import Children
from jangtq_coordinator.pki.authority import Authority, Subject
from jangtq_coordinator.pki.lifetimes import AUTHORITY_DAYS
from jangtq_proto.addresses import parse_address
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.tls.certificates import Role
from tests.support.cluster_processes import run_coordinator, start_coordinator, start_worker
from tests.support.forks import processes
from tests.support.tls_folders import Folders, make_folders, pems_in


def certificate_in(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pems_in(folder).certificate)


def authorities_in(folder: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates((folder / "ca.pem").read_bytes())


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return make_folders(tmp_path / "tls", "mac-b.local+10.0.0.2")


def test_the_command_makes_folders_and_says_where_they_go(tmp_path: Path) -> None:
    root = tmp_path / "tls"
    done = run_coordinator(
        "certs", str(root), "--workers", "10.0.0.1:7700,mac-b.local+10.0.0.2,[fd00::1]:7700"
    )
    assert done.returncode == 0, done.stderr
    assert f"{root}/worker-mac-b.local is for worker mac-b.local+10.0.0.2, good until " in done.stdout
    assert f"rsync -a {root}/worker-10.0.0.1/ 10.0.0.1:jangtq-tls/" in done.stdout
    assert f"rsync -a {root}/worker-fd00--1/ [fd00::1]:jangtq-tls/" in done.stdout
    made = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    workers = ("coordinator", "worker-10.0.0.1", "worker-mac-b.local", "worker-fd00--1")
    files = {f"{worker}/{name}" for worker in workers for name in ("ca.pem", "cert.pem", "key.pem")}
    assert made == files | {"authority/cert.pem", "authority/key.pem"}
    for path in (root, *root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_certificate_says_role_and_names(folders: Folders) -> None:
    worker, coordinator = (
        certificate_in(folders.root / "worker-mac-b.local"),
        certificate_in(folders.coordinator),
    )
    for certificate, usage, role in (
        (worker, ExtendedKeyUsageOID.SERVER_AUTH, "worker"),
        (coordinator, ExtendedKeyUsageOID.CLIENT_AUTH, "coordinator"),
    ):
        found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        assert list(found.value) == [usage]
        assert f"OU={role}" in certificate.subject.rfc4514_string()
    names = worker.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["mac-b.local", "10.0.0.2"]


def test_a_strict_verifier_finds_the_chains_good(folders: Folders) -> None:
    policy = PolicyBuilder().store(Store(authorities_in(folders.coordinator)))
    worker = certificate_in(folders.root / "worker-mac-b.local")
    for name in (x509.DNSName("mac-b.local"), x509.IPAddress(ip_address("10.0.0.2"))):
        assert len(policy.build_server_verifier(name).verify(worker, [])) == 2
    assert len(policy.build_client_verifier().verify(certificate_in(folders.coordinator), []).chain) == 2


def test_asking_again_keeps_what_is_there(folders: Folders) -> None:
    before = {path: path.read_bytes() for path in folders.root.rglob("*.pem")}
    make_certificates(CertsSettings(folders.root, parse_names("mac-b.local+10.0.0.2,mac-c.local")))
    after = {path: path.read_bytes() for path in folders.root.rglob("*.pem")}
    assert {path.parent.name for path in after.keys() - before.keys()} == {"worker-mac-c.local"}
    assert all(after[path] == content for path, content in before.items())


def test_other_names_make_another_certificate(folders: Folders) -> None:
    coordinator = pems_in(folders.coordinator)
    make_certificates(CertsSettings(folders.root, parse_names("mac-b.local+10.0.0.9")))
    names = certificate_in(folders.root / "worker-mac-b.local").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert str(names.value[1].value) == "10.0.0.9"
    assert pems_in(folders.coordinator) == coordinator


def test_renewal_keeps_authority_and_names(folders: Folders) -> None:
    before = certificate_in(folders.coordinator)
    authority = (folders.root / "authority/cert.pem").read_bytes()
    make_certificates(CertsSettings(folders.root, days=9, renew=True))
    after = certificate_in(folders.coordinator)
    assert before.serial_number != after.serial_number and before.public_key() != after.public_key()
    assert (after.not_valid_after_utc - after.not_valid_before_utc).days == 9
    assert (folders.root / "authority/cert.pem").read_bytes() == authority
    assert (folders.coordinator / "ca.pem").read_bytes() == authority


def test_a_change_of_authority_takes_three_steps(
    folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    (old,) = authorities_in(folders.coordinator)
    folders.change(new_authority=True)
    assert "--renew and copy them again, then --drop-old-ca" in capsys.readouterr().out
    new, still = authorities_in(folders.coordinator)
    assert still == old != new
    certificate_in(folders.coordinator).verify_directly_issued_by(old)
    with pytest.raises(ConfigurationError, match="another change of authority is not finished"):
        folders.change(new_authority=True)
    with pytest.raises(ConfigurationError, match="holds a certificate of the old authority: --renew first"):
        folders.change(drop_old=True)
    folders.change(renew=True)
    certificate_in(folders.coordinator).verify_directly_issued_by(new)
    assert authorities_in(folders.coordinator) == [new, old]
    folders.change(drop_old=True)
    assert authorities_in(folders.coordinator) == authorities_in(folders.root / "worker-mac-b.local") == [new]
    folders.change(new_authority=True, renew=True, drop_old=True)
    assert authorities_in(folders.coordinator) not in ([new], [old])


@pytest.mark.parametrize("name", ["a/b", "..", "a b", "-a", "*.local", "x" * 64, "ü.local"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="write host names or IP addresses"):
        Subject(Role.WORKER, (name,))


def test_times_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for days in (0, AUTHORITY_DAYS + 1):
        with pytest.raises(ConfigurationError, match=f"--days {days}: allowed are 1 to {AUTHORITY_DAYS}"):
            CertsSettings(tmp_path, days=days)
    with pytest.raises(ConfigurationError, match="the authority itself ends on"):
        Authority.create().issue(Subject(Role.WORKER, ("a",)), days=AUTHORITY_DAYS + 1)


def test_a_broken_authority_is_said(folders: Folders) -> None:
    (folders.root / "authority/key.pem").write_bytes(pems_in(folders.coordinator).key)
    with pytest.raises(
        ConfigurationError, match="authority: the authority's certificate and key do not belong"
    ):
        folders.change(renew=True)


@pytest.fixture(scope="module")
def running(
    demo_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Children, Folders, str]]:
    """A worker on an address that other machines reach."""
    folders = make_folders(tmp_path_factory.mktemp("tls"))
    with processes() as children:
        options = ["--tls", str(folders.worker)]
        worker = start_worker(children, demo_bundle, "0-255", listen="0.0.0.0:0", options=options)
        worker.ready()
        yield children, folders, f"127.0.0.1:{parse_address(worker.listening()).port}"


@pytest.mark.parametrize("transport", ["grpc", "express"])
def test_a_cluster_answers_inside_tls(
    running: tuple[Children, Folders, str], demo_bundle: Path, transport: str
) -> None:
    children, folders, address = running
    options = ["--tls", str(folders.coordinator), "--no-unix-sockets", "--transport", transport]
    coordinator = start_coordinator(children, demo_bundle, [parse_address(address)], options)
    coordinator.ready()
    question = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "temperature": 0}
    reply = httpx.post(f"{coordinator.listening()}/v1/chat/completions", json=question, timeout=60)
    assert reply.status_code == 200, reply.text
    assert reply.json()["usage"]["completion_tokens"] == 4


def test_a_coordinator_without_certificates_is_told(
    running: tuple[Children, Folders, str], demo_bundle: Path
) -> None:
    _, _, address = running
    arguments = ["--model", str(demo_bundle), "--workers", address, "--connect-timeout", "0.5", "--port", "0"]
    done = run_coordinator("serve", *arguments)
    assert done.returncode == 2
    assert f"worker {address}: it demands TLS: give --tls DIR" in done.stderr


def test_a_change_of_authority_interrupts_nobody_but_who_is_revoked(
    demo_bundle: Path, tmp_path: Path
) -> None:
    """Over both transports: of two coordinators only one gets the new certificates."""
    folders = make_folders(tmp_path / "tls")
    with processes() as children:
        options = ["--tls", str(folders.worker)]
        worker = start_worker(children, demo_bundle, "0-255", options=options)
        worker.ready()
        folders.change(new_authority=True)
        left_out = Path(shutil.copytree(folders.coordinator, tmp_path / "left-out"))
        coordinators = []
        for folder, transport in ((folders.coordinator, "grpc"), (left_out, "express")):
            options = ["--tls", str(folder), "--no-unix-sockets", "--transport", transport]
            coordinator = start_coordinator(
                children, demo_bundle, [parse_address(worker.listening())], options
            )
            coordinators.append(coordinator)
        for coordinator in coordinators:
            coordinator.ready()
        renewed, revoked = (coordinator.listening() for coordinator in coordinators)
        before = text_of(renewed)
        assert text_of(revoked) == before
        folders.change(renew=True)
        assert text_of(renewed) == text_of(revoked) == before
        folders.change(drop_old=True)
        wait_until(lambda: lost_worker(revoked) is not None)
        wait_until(lambda: "it refuses our certificate" in str(lost_worker(revoked)))
        assert text_of(renewed) == before and lost_worker(renewed) is None
    assert not [line for line in coordinators[0].lines if "is lost" in line]


def text_of(url: str) -> str:
    question = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "temperature": 0}
    reply = httpx.post(f"{url}/v1/chat/completions", json=question, timeout=60)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["choices"])


def lost_worker(url: str) -> str | None:
    """Why the only worker does not serve, where it does not."""
    (worker,) = httpx.get(f"{url}/cluster", timeout=60).json()["workers"]
    return None if worker["state"] == "serving" else str(worker["reason"])


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never came to it"
        time.sleep(0.1)
