"""Fetching parts of a published bundle: only what is needed, whole in the end, and one message where not."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.holdings import Holdings
from jangtq_bundle.hub import repository as repository_module
from jangtq_bundle.hub.remote_bundle import get_slice
from jangtq_bundle.hub.repository import Repository
from jangtq_bundle.hub.whole import get_whole
from jangtq_bundle.opening import open_model
from jangtq_bundle.slices.slicing import slice_bundle
from jangtq_proto.errors import BundleError, ConfigurationError
from tests.support.small_checkpoints import Sizes
from tests.support.small_hub import COMMIT, MODEL, SmallHub, small_hub
from tests.support.sparse_bundles import write_sparse_bundle

OpenHub = Callable[[], Repository]
EXPERTS = Holdings((0, 2, 3), has_dense=False)
DENSE = Holdings((), has_dense=True)


@pytest.fixture
def hub(bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    """A hub that serves a bundle which the test may change."""
    with small_hub(bundle_copy) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(repository_module, "get_token", lambda: "secret")
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield hub


@pytest.fixture
def open_hub() -> Iterator[OpenHub]:
    """Opens the repository; its connections end with the test."""
    opened: list[Repository] = []

    def open_hub() -> Repository:
        opened.append(Repository.open(MODEL))
        return opened[-1]

    yield open_hub
    for repository in opened:
        repository.close()


@pytest.mark.parametrize("wanted", [EXPERTS, DENSE], ids=str)
def test_what_comes_equals_a_slice_of_the_whole(
    hub: SmallHub, wanted: Holdings, open_hub: OpenHub, tmp_path: Path
) -> None:
    fetched = get_slice(open_hub(), tmp_path / "fetched", wanted)
    cut = slice_bundle(hub.folder, tmp_path / "cut", wanted)
    assert fetched.fingerprint == cut.fingerprint == Bundle.open(hub.folder).fingerprint
    for path in sorted((tmp_path / "cut").iterdir()):
        assert (tmp_path / "fetched" / path.name).read_bytes() == path.read_bytes(), path.name
    np.testing.assert_array_equal(fetched.layer_scales, cut.layer_scales)


def test_no_weight_that_is_not_needed_is_fetched(hub: SmallHub, open_hub: OpenHub, tmp_path: Path) -> None:
    hub.folder = write_sparse_bundle(tmp_path / "large", Sizes(32, hidden_size=512, intermediate_size=256))
    bundle = Bundle.open(hub.folder)
    get_slice(open_hub(), tmp_path / "slice", Holdings((1,), has_dense=False))
    (shard,) = bundle.inventory.shards
    needed = bundle.expert_nbytes * bundle.config.layer_count
    norms = 8 * bundle.config.layer_count * 2 * (256 + 256 + 512)
    assert needed < hub.bytes_of(shard.name) < needed + norms + shard.data_offset + 16 * 4096 + 4096
    assert needed < shard.size / 20


@pytest.mark.parametrize("how", ["cut", "busy", "redirect"])
def test_what_the_network_does_is_survived(
    hub: SmallHub, how: str, open_hub: OpenHub, tmp_path: Path
) -> None:
    hub.misbehave = lambda file, number: how if number % 3 == 0 or how == "redirect" else ""
    fetched = get_slice(open_hub(), tmp_path / "slice", EXPERTS)
    assert fetched.fingerprint == Bundle.open(hub.folder).fingerprint
    fetched.read_experts(0, EXPERTS.experts)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no ranges", "sends no ranges of files"),
        ("grown", "changed while it was read"),
        ("refuse", "answers 403: log in with `hf auth login`"),
        ("spoil", "sent other bytes than it announces|other bytes came"),
        ("busy", "stopped: status 503"),
    ],
)
def test_what_cannot_be_survived_is_one_message(
    hub: SmallHub, how: str, message: str, open_hub: OpenHub, tmp_path: Path
) -> None:
    hub.misbehave = lambda file, number: how if number > 20 else ""
    with pytest.raises((BundleError, ConfigurationError), match=message):
        get_slice(open_hub(), tmp_path / "slice", EXPERTS)
    assert not (tmp_path / "slice").exists()


def test_an_interrupted_download_goes_on(
    hub: SmallHub, open_hub: OpenHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jangtq_bundle.hub.remote_bundle.SHARD_BYTES", 4096)
    repository = open_hub()
    get_slice(repository, tmp_path / "whole", EXPERTS)
    first = len(hub.requests)
    hub.misbehave = lambda file, number: "refuse" if number > first + first - 6 else ""
    with pytest.raises(ConfigurationError, match="answers 403"):
        get_slice(repository, tmp_path / "cut", EXPERTS)
    finished = list((tmp_path / ".cut.unfinished").glob("model*.safetensors"))
    assert finished
    written = {path.name: path.stat().st_mtime_ns for path in finished}
    hub.misbehave = lambda file, number: ""
    get_slice(repository, tmp_path / "cut", EXPERTS)
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "cut" / path.name).read_bytes() == path.read_bytes()
    for name, when in written.items():
        assert (tmp_path / "cut" / name).stat().st_mtime_ns == when


def test_a_revision_that_changed_meanwhile_is_another_bundle(
    hub: SmallHub, open_hub: OpenHub, tmp_path: Path
) -> None:
    hub.misbehave = lambda file, number: "refuse" if number > 40 else ""
    with pytest.raises(ConfigurationError, match="answers 403"):
        get_slice(open_hub(), tmp_path / "slice", DENSE)
    hub.misbehave = lambda file, number: ""
    config = hub.folder / "config.json"
    config.write_text(config.read_text().replace('"rope_theta": 5000000', '"rope_theta": 5000001'))
    if (tmp_path / ".slice.unfinished").exists():
        with pytest.raises(ConfigurationError, match="the beginning of another bundle: remove it"):
            get_slice(open_hub(), tmp_path / "slice", DENSE)
    assert get_slice(open_hub(), tmp_path / "other", DENSE).config.attention.rope_theta == 5000001


def test_who_has_no_right_is_told_to_log_in(hub: SmallHub) -> None:
    hub.token = "another"
    with pytest.raises(ConfigurationError, match=r"no such model, or only for those who log in"):
        Repository.open(MODEL)


def test_other_repositories_are_named(hub: SmallHub, open_hub: OpenHub, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nobody/nothing: .* has no such model"):
        Repository.open("nobody/nothing")
    for path in hub.folder.glob("*.json"):
        path.unlink()
    with pytest.raises(BundleError, match="config.json is missing, expected a JANGTQ bundle"):
        get_slice(open_hub(), tmp_path / "slice", EXPERTS)


def test_experts_outside_the_model_are_refused_before_any_weight(
    hub: SmallHub, open_hub: OpenHub, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="has experts 0-[0-9]+, not 400"):
        get_slice(open_hub(), tmp_path / "slice", Holdings((0, 400), has_dense=False))


def test_offline_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigurationError, match="HF_HUB_OFFLINE is set"):
        Repository.open(MODEL)


def test_the_commit_is_pinned(hub: SmallHub) -> None:
    repository = Repository.open(MODEL, revision="main")
    assert repository.commit == COMMIT
    repository.close()


def test_a_whole_repository_comes_file_by_file(hub: SmallHub, open_hub: OpenHub, tmp_path: Path) -> None:
    hub.misbehave = lambda file, number: "refuse" if file == "tokenizer.json" else ""
    with pytest.raises(ConfigurationError, match="answers 403"):
        get_whole(open_hub(), tmp_path / "fetched", on_progress=lambda done, total: None)
    hub.misbehave = lambda file, number: "cut" if number % 3 == 0 else ""
    get_whole(open_hub(), tmp_path / "fetched", on_progress=lambda done, total: None)
    for path in hub.folder.iterdir():
        assert (tmp_path / "fetched" / path.name).read_bytes() == path.read_bytes()
    assert Bundle.open(tmp_path / "fetched").fingerprint == Bundle.open(hub.folder).fingerprint


def test_a_whole_file_of_other_bytes_is_refused(hub: SmallHub, open_hub: OpenHub, tmp_path: Path) -> None:
    hub.misbehave = lambda file, number: "spoil" if file.endswith(".safetensors") else ""
    with pytest.raises(BundleError, match="sent other bytes than it announces"):
        get_whole(open_hub(), tmp_path / "fetched", on_progress=lambda done, total: None)
    assert not (tmp_path / "fetched").exists()


def test_a_model_is_opened_by_its_name_on_the_hub(
    hub: SmallHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    first = open_model(Path(MODEL), EXPERTS)
    asked = len(hub.requests)
    assert open_model(Path(MODEL), EXPERTS).path == first.path
    assert len(hub.requests) == asked
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert open_model(Path(MODEL), EXPERTS).path == first.path
    with pytest.raises(
        ConfigurationError, match="HF_HUB_OFFLINE is set, and experts 1 were not fetched before"
    ):
        open_model(Path(MODEL), Holdings((1,), has_dense=False))
