"""`jangtq-bundle` as users type it: what it prints, and one line for each mistake."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.cli.main import main
from jangtq_bundle.hub import repository
from tests.support.small_checkpoints import Sizes, write_checkpoint
from tests.support.small_hub import MODEL, small_hub

SMALL = Sizes(4, hidden_size=256, intermediate_size=128, layer_count=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("checkpoint") / "source"
    write_checkpoint(path, SMALL, seed=2)
    return path


def test_convert_verify_and_info(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(tmp_path / "bundle")
    assert main(["convert", str(source), bundle, "--profile", "2/2/3", "--threads", "1"]) == 0
    assert "bundle: JANGTQ_2_2_3, fingerprint" in capsys.readouterr().out
    assert main(["verify", bundle, "--source", str(source), "--rows", "8"]) == 0
    said = capsys.readouterr().out
    assert "every byte as its hashes say" in said
    lines = {line.split()[2]: line.split()[3:] for line in said.splitlines() if " layer 0 " in line}
    assert {name: bits for name, (bits, *_) in lines.items()} == {
        "gate_proj": "2",
        "up_proj": "2",
        "down_proj": "3",
    }
    # Lloyd-Max for a Gaussian: the mean square error is 0.1175 with two bits and 0.0345 with three.
    assert float(lines["gate_proj"][1]) == pytest.approx(0.1175**0.5, rel=0.05)
    assert float(lines["down_proj"][1]) == pytest.approx(0.0345**0.5, rel=0.05)
    assert main(["info", bundle]) == 0
    said = capsys.readouterr().out
    assert "gate 2, up 2, down 3 bits, prestacked" in said and "experts of one of 2 equal workers" in said


def test_slices_are_cut_by_ranges(
    small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["slice", str(small_bundle), str(tmp_path / "a"), "--experts", "0-1,3"]) == 0
    assert "experts 0-1,3" in capsys.readouterr().out
    assert Bundle.open(tmp_path / "a").holdings.experts == (0, 1, 3)
    assert main(["slice", str(small_bundle), str(tmp_path / "c"), "--experts", "2", "--coordinator"]) == 0
    assert "experts 2 and everything but the experts" in capsys.readouterr().out


def test_get_fetches_a_part_or_all(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(repository, "get_token", lambda: None)
    with small_hub(small_bundle) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        assert main(["get", MODEL, "--experts", "0-1"]) == 0
        cached = Path(capsys.readouterr().out.strip())
        assert Bundle.open(cached).holdings.experts == (0, 1)
        asked = len(hub.requests)
        assert main(["get", MODEL, "--experts", "0-1"]) == 0
        assert Path(capsys.readouterr().out.strip()) == cached and len(hub.requests) == asked
        assert main(["get", MODEL, "--to", str(tmp_path / "whole")]) == 0
    assert Bundle.open(tmp_path / "whole").fingerprint == Bundle.open(small_bundle).fingerprint


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["convert", "/nowhere", "/tmp/out"], 2, "/nowhere: found nothing"),
        (["info", "/nowhere"], 2, "/nowhere: found nothing, expected a JANGTQ directory"),
        (["verify", "/nowhere"], 1, "/nowhere: found nothing"),
    ],
)
def test_what_is_missing_is_one_line(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == status
    said = capsys.readouterr().err
    assert message in said.splitlines()[-1] and len(said.splitlines()) <= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["slice", "a", "b"], "name what to keep: --experts RANGES for a worker, or --coordinator"),
        (["slic", "a", "b"], "unknown command slic; did you mean slice?"),
        (["convert", "a", "b", "--profile", "JANGTQ9"], "--profile 'JANGTQ9'"),
        (["convert", "a", "b", "--profile", "2/5/2"], "--profile '2/5/2'"),
        (["get", "some/model", "--experts", "5-1"], "expert range 5-1: the first expert must not exceed"),
        ([], "name a command: get, slice, convert, verify, info"),
    ],
)
def test_mistakes_come_first_and_alone(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert message in said.splitlines()[0]


def test_a_damaged_bundle_ends_verify_with_1(bundle_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = next(
        record
        for name, record in Bundle.open(bundle_copy).inventory.tensors.items()
        if name.endswith("up_proj.tq_packed")
    )
    with record.path.open("r+b") as file:
        file.seek(record.offset)
        first = file.read(1)
        file.seek(record.offset)
        file.write(bytes([first[0] ^ 4]))
    assert main(["verify", str(bundle_copy)]) == 1
    assert "its bytes changed" in capsys.readouterr().err
