"""Certificate files that change, expire or cannot be used, and what becomes of connections that are open."""

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest

from jangtq_proto.errors import ConfigurationError, WorkerUnreachableError
from jangtq_proto.tls import certificates
from jangtq_proto.tls.certificates import Role
from jangtq_proto.tls.credentials import CERTIFICATE_FILE, KEY_FILE, Credentials
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.v1 import expert_pb2_grpc
from tests.support.connection_answers import CallConnection
from tests.support.scripted_workers import (
    EXPRESS,
    GRPC,
    HIDDEN,
    ScriptedWorker,
    Way,
    ask,
    connection_to,
    scripted_worker,
)
from tests.support.tls_folders import (
    SECONDS,
    Folders,
    YearsLater,
    assert_nothing_is_said,
    client_credentials,
    expired,
    make_folders,
    pems_in,
)

TCP_WAYS = (GRPC, EXPRESS)


@pytest.fixture
def changing(tmp_path: Path) -> Folders:
    """Certificates that a test changes."""
    return make_folders(tmp_path / "tls")


@pytest.mark.parametrize("way", TCP_WAYS, ids=str)
def test_changed_files_are_taken_up_and_calls_go_on(small_bundle: Path, changing: Folders, way: Way) -> None:
    credentials = changing.coordinators_credentials()
    before = pems_in(changing.coordinator)
    with scripted_worker(small_bundle, tls=changing.worker) as worker:
        with connection_to(worker, way, credentials=credentials) as under_way:
            expected = ask(under_way)
            for step in ({"new_authority": True}, {"renew": True}, {"drop_old": True}):
                changing.change(**step)
                np.testing.assert_array_equal(ask(under_way), expected)
                with connection_to(worker, way, credentials=credentials) as new:
                    np.testing.assert_array_equal(ask(new), expected)
            under_way.abandon()
            np.testing.assert_array_equal(ask(under_way), expected)
        # Revoked: what the old authority signed is void now.
        with grpc.secure_channel(
            str(worker.address), client_credentials(changing.coordinator, before)
        ) as channel:
            assert_nothing_is_said(channel)


def take_authority_away(folders: Folders) -> None:
    """What the authority signed before is void from now on."""
    folders.change(new_authority=True, renew=True, drop_old=True)


@contextmanager
def open_connection(worker: ScriptedWorker, way: Way, folder: Path) -> Iterator[CallConnection]:
    """A coordinator that shows what is in a folder, with a stream that was used already."""
    with connection_to(worker, way, credentials=Credentials(folder, Role.COORDINATOR)) as connection:
        ask(connection)
        assert worker.server.admission.streams.count == 1
        yield connection


def assert_put_out(worker: ScriptedWorker, connection: CallConnection) -> None:
    """Its stream ends by itself, and it gets no other."""
    until(lambda: worker.server.admission.streams.count == 0)
    assert refuses(connection) and refuses(connection)


@pytest.mark.parametrize("way", TCP_WAYS, ids=str)
def test_who_is_revoked_is_put_out_of_what_was_open(
    small_bundle: Path, changing: Folders, tmp_path: Path, way: Way
) -> None:
    stolen = Path(shutil.copytree(changing.coordinator, tmp_path / "stolen"))
    with scripted_worker(small_bundle, tls=changing.worker) as worker:
        with open_connection(worker, way, stolen) as connection:
            take_authority_away(changing)
            assert_put_out(worker, connection)


@pytest.mark.parametrize("way", TCP_WAYS, ids=str)
def test_who_expires_is_put_out_of_what_was_open(
    small_bundle: Path, changing: Folders, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    with scripted_worker(small_bundle, tls=changing.worker) as worker:
        with open_connection(worker, way, changing.coordinator) as connection:
            monkeypatch.setattr(certificates, "datetime", YearsLater)
            assert_put_out(worker, connection)


def test_a_connection_from_before_answers_no_question_of_who_is_revoked(
    small_bundle: Path, changing: Folders
) -> None:
    with scripted_worker(small_bundle, tls=changing.worker) as worker:
        with changing.coordinators_channel(worker.address) as channel:
            stub = expert_pb2_grpc.ExpertServiceStub(channel)
            assert stub.Describe(pb.DescribeRequest(), timeout=SECONDS).expert_count
            take_authority_away(changing)
            assert_nothing_is_said(channel)


@pytest.mark.parametrize("way", TCP_WAYS, ids=str)
def test_no_row_goes_to_a_worker_that_is_revoked(
    small_bundle: Path, changing: Folders, tmp_path: Path, way: Way
) -> None:
    stolen = Path(shutil.copytree(changing.worker, tmp_path / "stolen"))
    asked: list[None] = []
    with scripted_worker(small_bundle, tls=stolen) as worker:
        worker.script.act = lambda: asked.append(None)
        with open_connection(worker, way, changing.coordinator) as connection:
            take_authority_away(changing)
            until(lambda: refuses(connection))
            before = len(asked)
            assert refuses(connection) and len(asked) == before


def refuses(connection: CallConnection) -> bool:
    try:
        ask(connection)
    except WorkerUnreachableError:
        return True
    return False


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never came to it"
        time.sleep(0.02)


def test_files_that_do_not_fit_change_nothing(
    small_bundle: Path, changing: Folders, caplog: pytest.LogCaptureFixture
) -> None:
    credentials = changing.coordinators_credentials()
    with scripted_worker(small_bundle, tls=changing.worker) as worker:
        (changing.worker / CERTIFICATE_FILE).write_bytes(pems_in(changing.coordinator).certificate)
        (changing.coordinator / KEY_FILE).unlink()
        with connection_to(worker, TCP_WAYS[0], credentials=credentials) as connection:
            assert ask(connection).shape == (2, HIDDEN)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line for line in said if "do not belong together; going on with what was read before" in line]
    assert [line for line in said if "key.pem: No such file" in line]


Damage = Callable[[Path, Folders], object]
BROKEN: dict[str, tuple[Damage, str]] = {
    "no folder": (
        lambda path, _: shutil.rmtree(path),
        "ca.pem: No such file or directory; --tls wants a folder with ca.pem, cert.pem, key.pem, such as",
    ),
    "key for all": (lambda path, _: (path / KEY_FILE).chmod(0o640), "mode is 0640: chmod 600"),
    "no key": (lambda path, _: (path / KEY_FILE).write_bytes(b"x"), "cert.pem: not a PEM certificate"),
    "another key": (
        lambda path, tls: shutil.copy(tls.coordinator / KEY_FILE, path / KEY_FILE),
        "certificate and key do not belong together",
    ),
    "another role": (
        lambda path, tls: [
            shutil.copy(tls.coordinator / name, path) for name in (CERTIFICATE_FILE, KEY_FILE)
        ],
        "cert.pem: the certificate is a coordinator's, and a worker's is wanted: each is good for one",
    ),
    "no role": (
        lambda path, tls: [
            shutil.copy(tls.root / "authority" / name, path) for name in (CERTIFICATE_FILE, KEY_FILE)
        ],
        "cert.pem: the certificate is none of a worker",
    ),
    "expired": (
        lambda path, tls: (path / CERTIFICATE_FILE).write_bytes(expired(tls, path).certificate),
        "the certificate expired on",
    ),
    "no authority": (
        lambda path, _: shutil.copy(path / CERTIFICATE_FILE, path / "ca.pem"),
        "ca.pem: the certificate of CN=127.0.0.1,OU=worker,O=jangtq-cluster is not an authority's",
    ),
    "empty authority": (lambda path, _: (path / "ca.pem").write_bytes(b""), "ca.pem: not PEM certificates"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_folder_that_cannot_be_used_is_refused(changing: Folders, case: str) -> None:
    damage, words = BROKEN[case]
    damage(changing.worker, changing)
    with pytest.raises(ConfigurationError) as caught:
        Credentials(changing.worker, Role.WORKER)
    assert words in str(caught.value)
