"""Keys: made, kept as hashes, looked up, and read again when their file changes."""

import os
from pathlib import Path

import pytest

from jangtq_coordinator.api.http.api_keys import KeyFile, add_key
from jangtq_proto.errors import ConfigurationError
from tests.support.cluster_processes import run_coordinator


def test_a_key_is_known_by_its_name_and_kept_as_a_hash(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    laptop, phone = add_key(path, "laptop"), add_key(path, "phone")
    keys = KeyFile(path)
    assert (keys.name_of(laptop), keys.name_of(phone)) == ("laptop", "phone")
    assert [keys.name_of(wrong) for wrong in ("", "x", laptop[:-1], laptop + "x", "ключ", "\ud800")] == [
        None
    ] * 6
    assert laptop not in path.read_text() and path.stat().st_mode & 0o077 == 0


def test_a_file_may_have_remarks_and_no_last_newline(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# mine\n\n  old sha256:" + "0" * 64)
    key = add_key(path, "new")
    assert KeyFile(path).name_of(key) == "new"


def test_keys_follow_their_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first = add_key(path, "first")
    keys = KeyFile(path)
    second = add_key(path, "second")
    assert keys.name_of(second) == "second"
    _replace(path, "\n".join(line for line in path.read_text().splitlines() if "first" not in line))
    assert (keys.name_of(first), keys.name_of(second)) == (None, "second")
    _replace(path, "")
    assert keys.name_of(second) is None


def test_a_broken_file_leaves_the_keys_before_it_in_force(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys"
    key = add_key(path, "me")
    keys = KeyFile(path)
    _replace(path, "nonsense")
    assert (keys.name_of(key), keys.name_of(key)) == ("me", "me")
    path.unlink()
    assert keys.name_of(key) == "me"
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "line 1: expected NAME sha256:HEX" in caplog.text and "cannot be read" in caplog.text


def _replace(path: Path, text: str) -> None:
    other = path.with_suffix(".new")
    other.write_text(text)
    os.replace(other, path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "holds no key"), ("me", "line 1"), ("me sha256:12", "line 1"), ("# x\nme md5:00", "line 2")],
)
def test_files_that_let_nobody_in_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        KeyFile(path)


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    add_key(tmp_path / "keys", "me")
    (tmp_path / "keys").chmod(0o620)
    with pytest.raises(ConfigurationError, match="others may write keys of theirs to it, its mode is 0620"):
        KeyFile(tmp_path / "keys")


def test_names_are_checked(tmp_path: Path) -> None:
    add_key(tmp_path / "keys", "me")
    with pytest.raises(ConfigurationError, match="a key named 'me'"):
        add_key(tmp_path / "keys", "me")
    with pytest.raises(ConfigurationError, match="allowed are 1 to 64"):
        add_key(tmp_path / "keys", "my laptop")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        add_key(tmp_path / "keys" / "keys", "me")
    key = add_key(tmp_path / "none" / "keys", "me")
    assert KeyFile(tmp_path / "none" / "keys").name_of(key) == "me"
    assert (tmp_path / "none").stat().st_mode & 0o777 == 0o700


def test_the_command_shows_the_key_once(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    ended = run_coordinator("key", "--api-keys", str(path), "--name", "laptop")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert KeyFile(path).name_of(ended.stdout.strip()) == "laptop"
