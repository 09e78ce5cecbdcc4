"""Fetches the part of a published bundle that one machine needs."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from jangtq_bundle.bundle import Bundle, read_model
from jangtq_bundle.config import ModelConfig
from jangtq_bundle.directory import CONFIG_FILE, INDEX_FILE, JANG_CONFIG_FILE
from jangtq_bundle.experts import ExpertReader
from jangtq_bundle.fingerprint import fingerprint, sample_ranges
from jangtq_bundle.hashes import HASHES_FILE, TensorHashes, parse_hashes
from jangtq_bundle.holdings import SLICE_FILE, Holdings, SliceFacts
from jangtq_bundle.hub.repository import Repository
from jangtq_bundle.inventory import Inventory, inventory_of, parse_weight_map
from jangtq_bundle.json_files import parse_json_object
from jangtq_bundle.scales import layer_scales, sampled_experts
from jangtq_bundle.shards import Shard, TensorRecord, header_length, parse_shard
from jangtq_bundle.slices.byte_source import read_all
from jangtq_bundle.slices.slice_plan import SHARD_BYTES, expected_digests, plan_slice
from jangtq_bundle.slices.slicing import is_companion, slice_digest
from jangtq_bundle.slices.transfer import Transfer
from jangtq_bundle.vocabulary import Part, Projection
from jangtq_bundle.writing.unfinished import OnProgress, UnfinishedBundle, check_target
from jangtq_proto.errors import BundleError

CONNECTIONS: Final = 8
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class RemoteBundle:
    """A published bundle whose headers and small files were read, and nothing else."""

    repository: Repository
    files: Mapping[str, bytes]
    config: ModelConfig
    inventory: Inventory
    hashes: TensorHashes | None

    @classmethod
    def open(cls, repository: Repository) -> "RemoteBundle":
        """Raises BundleError where the repository holds no JANGTQ bundle."""
        files = {name: repository.read_file(name) for name in _small_files(repository)}
        if CONFIG_FILE not in files:
            raise BundleError(f"{repository.name}: {CONFIG_FILE} is missing, expected a JANGTQ bundle")
        index = files.get(INDEX_FILE)
        weight_map = parse_weight_map(parse_json_object(index, INDEX_FILE)) if index else None
        names = set(weight_map.values()) if weight_map else _weight_files(repository)
        if missing := sorted(name for name in names if name not in repository.sizes):
            raise BundleError(f"{repository.name}: {missing[0]} is missing, which {INDEX_FILE} names")
        shards = tuple(_side_by_side(lambda name: _read_header(repository, name), sorted(names)))
        inventory = inventory_of(shards, weight_map)
        config = read_model(_configurations(files), inventory, read=partial(_read_tensor, repository))
        hashes = files.get(HASHES_FILE)
        parsed = parse_hashes(parse_json_object(hashes, HASHES_FILE), inventory) if hashes else None
        return cls(repository, files, config, inventory, parsed)

    def fingerprint(self) -> str:
        """That of the whole bundle, from samples of its files."""
        asked = [(shard, *extent) for shard in self.inventory.shards for extent in sample_ranges(shard)]
        found = dict(zip(asked, _side_by_side(lambda item: self._read(*item), asked), strict=True))
        configurations = _configurations(self.files)
        return fingerprint(
            configurations[CONFIG_FILE],
            configurations[JANG_CONFIG_FILE],
            shards=self.inventory.shards,
            read=lambda shard, offset, length: found[shard, offset, length],
            hashes=self.hashes,
        )

    def layer_scales(self) -> tuple[float, ...]:
        """As of the whole bundle, from the norms of a few experts."""
        reader = ExpertReader(self.config, self.inventory.layout, self.inventory.tensors, {})
        experts = sampled_experts(self.config)
        asked = [(layer, projection) for layer in range(self.config.layer_count) for projection in Projection]

        def fetch(item: tuple[int, Projection]) -> NDArray[np.float16]:
            places = reader.places(*item, part=Part.NORMS, expert_ids=experts)
            extents = (place.extent for place in places)
            data = [read_all(self.repository, e.path.name, offset=e.offset, length=e.nbytes) for e in extents]
            return np.frombuffer(b"".join(data), dtype=np.float16).reshape(len(experts), -1)

        norms = dict(zip(asked, _side_by_side(fetch, asked), strict=True))
        return tuple(
            layer_scales(self.config, lambda layer, projection, _: norms[layer, projection]).tolist()
        )

    def _read(self, shard: Shard, offset: int, length: int) -> bytes:
        return read_all(self.repository, shard.name, offset=offset, length=length)


def get_slice(
    repository: Repository,
    target: Path,
    wanted: Holdings,
    *,
    on_progress: OnProgress = lambda done, total: None,
) -> Bundle:
    """Fetch what is wanted and no other weight; an interrupted run goes on while the repository is the same.

    Raises ConfigurationError for a target that is taken or a disk without room, BundleError for a repository
    that lacks something or sends something else.
    """
    check_target(target)
    remote = RemoteBundle.open(repository)
    outside = [expert for expert in wanted.experts if expert >= remote.config.expert_count]
    if outside:
        raise BundleError(
            f"{repository.name}: has experts 0-{remote.config.expert_count - 1}, not {outside[0]}"
        )
    held = range(remote.config.expert_count)
    plan = plan_slice(remote.inventory, held, wanted, shard_bytes=SHARD_BYTES)
    facts = SliceFacts(wanted, remote.fingerprint(), remote.layer_scales())
    unfinished = UnfinishedBundle(target, plan.shards, slice_digest(facts, plan))
    unfinished.open()
    expected = expected_digests(remote.hashes, held, wanted) if remote.hashes else None
    Transfer(plan, repository, expected, CONNECTIONS).run(unfinished, on_progress)
    kept = {name: content for name, content in remote.files.items() if is_companion(name, wanted)}
    unfinished.finish({SLICE_FILE: facts.to_json(), **kept})
    return Bundle.open(target)


def _small_files(repository: Repository) -> list[str]:
    everything = Holdings((), has_dense=True)
    needed = (INDEX_FILE, HASHES_FILE)
    names = repository.sizes
    return [name for name in names if "/" not in name and (is_companion(name, everything) or name in needed)]


def _weight_files(repository: Repository) -> set[str]:
    return {name for name in repository.sizes if name.startswith("model") and name.endswith(".safetensors")}


def _read_tensor(repository: Repository, record: TensorRecord) -> bytes:
    return read_all(repository, record.file, offset=record.offset, length=record.nbytes)


def _read_header(repository: Repository, name: str) -> Shard:
    size = repository.sizes[name]
    start = read_all(repository, name, offset=0, length=min(8, size))
    length = header_length(name, start, size=size)
    return parse_shard(name, Path(name), read_all(repository, name, offset=8, length=length), size=size)


def _configurations(files: Mapping[str, bytes]) -> Mapping[str, Mapping[str, object]]:
    names = (CONFIG_FILE, JANG_CONFIG_FILE)
    return {name: parse_json_object(files[name], name) if name in files else {} for name in names}


def _side_by_side(fetch: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="get") as pool:
        return list(pool.map(fetch, items))
