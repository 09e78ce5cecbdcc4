"""The folder of Unix sockets: private to its user, one id a machine, stale files replaced."""

import os
import socket
import stat
from pathlib import Path

import pytest

from jangtq_proto.addresses import Address
from jangtq_proto.sockets.local_sockets import SocketFolder, answers, socket_name


def test_the_folder_is_its_users_own_and_the_id_stays(tmp_path: Path) -> None:
    folder = SocketFolder(tmp_path / "sockets")
    machine_id = folder.machine_id()
    assert stat.S_IMODE((tmp_path / "sockets").stat().st_mode) == 0o700
    assert len(machine_id) == 32
    assert SocketFolder(tmp_path / "sockets").machine_id() == machine_id
    assert SocketFolder(tmp_path / "elsewhere").machine_id() != machine_id
    assert [file.name for file in (tmp_path / "sockets").iterdir()] == ["machine-id"]


def test_a_folder_that_others_may_enter_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "sockets"
    machine_id = SocketFolder(path).machine_id()
    path.chmod(0o755)
    with pytest.raises(PermissionError, match="mode 0700"):
        SocketFolder(path).claim("x")
    assert not SocketFolder(path).holds(path / "x", machine_id)


def test_a_link_in_the_folders_place_is_not_followed(tmp_path: Path) -> None:
    SocketFolder(tmp_path / "real").machine_id()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(PermissionError):
        SocketFolder(tmp_path / "link").machine_id()


def test_only_a_path_in_the_folder_with_its_id_is_held(tmp_path: Path) -> None:
    folder = SocketFolder(tmp_path / "sockets")
    assert not folder.holds(tmp_path / "sockets" / "x", "id of a machine that has none")
    machine_id = folder.machine_id()
    assert folder.holds(tmp_path / "sockets" / "x", machine_id)
    assert folder.is_of(machine_id) and not folder.is_of("") and not folder.is_of(machine_id[::-1])
    assert not folder.holds(tmp_path / "sockets" / "x", "")
    assert not folder.holds(tmp_path / "sockets" / "x", machine_id[::-1])
    assert not folder.holds(tmp_path / "x", machine_id)
    assert not folder.holds(tmp_path / "sockets" / ".." / "x", machine_id)


def test_sockets_of_killed_processes_are_swept_and_others_stay(tmp_path: Path) -> None:
    folder = SocketFolder(tmp_path / "s")
    folder.machine_id()
    dead, new = folder.path / "express-1-a", folder.path / "express-2-a"
    for path in (dead, new):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
    with socket.socket(socket.AF_UNIX) as listener:
        alive = folder.path / "express-3-a"
        listener.bind(str(alive))
        listener.listen()
        for path in (dead, alive):
            os.utime(path, (1, 1))
        folder.claim("express-4-a")
        assert sorted(folder.path.iterdir()) == [new, alive, folder.path / "machine-id"]


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    folder = SocketFolder(tmp_path / "s")
    path = folder.claim("grpc")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert answers(path)
        with pytest.raises(OSError, match="is in use"):
            folder.claim("grpc")
    assert path.exists() and not answers(path)
    assert folder.claim("grpc") == path
    assert not path.exists()


def test_names_tell_ports_hosts_and_purposes_apart() -> None:
    addresses = [Address("127.0.0.1", 7700), Address("127.0.0.2", 7700), Address("127.0.0.1", 7701)]
    names = {socket_name(address, purpose) for address in addresses for purpose in ("grpc", "express")}
    assert len(names) == 6
    longest = socket_name(Address("h" * 253, 65535), "express")
    assert len(f"/tmp/jangtq-4294967295/{longest}") < 104
