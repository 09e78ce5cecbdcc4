"""All tensors of a bundle and the files they lie in, from the index and the headers. Knows no model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jangtq_bundle.directory import INDEX_FILE, Directory
from jangtq_bundle.json_files import Fields, read_json_object
from jangtq_bundle.shards import Shard, TensorRecord, read_shard
from jangtq_bundle.vocabulary import Layout, Part
from jangtq_proto.errors import BundleError


@dataclass(frozen=True)
class Inventory:
    """The shards of a bundle, sorted by name, and their tensors by name."""

    shards: tuple[Shard, ...]
    tensors: Mapping[str, TensorRecord]

    def check_packed(self, root: Path) -> None:
        """Raise BundleError for a model none of whose experts is in JANGTQ form."""
        if not any(name.endswith(f".{Part.CODES}") for name in self.tensors):
            raise BundleError(f"{root}: no tensor ends with .{Part.CODES}, expected experts in JANGTQ form")

    @property
    def layout(self) -> Layout:
        """Raises BundleError when both layouts are there."""
        stacked = next((name for name in self.tensors if ".switch_mlp." in name), None)
        single = next((name for name in self.tensors if ".block_sparse_moe.experts." in name), None)
        if stacked and single:
            raise BundleError(f"routed experts come in two layouts: {stacked!r} and {single!r}, expected one")
        return Layout.ONE_BY_ONE if single else Layout.PRESTACKED


def take_inventory(directory: Directory) -> Inventory:
    """Read the index, where there is one, and every header. Raises BundleError."""
    index = directory.find(INDEX_FILE)
    weight_map = None if index is None else parse_weight_map(read_json_object(index, INDEX_FILE))
    files = directory.model_files() if weight_map is None else tuple(sorted(set(weight_map.values())))
    if not files:
        raise BundleError(f"{directory.root}: found neither {INDEX_FILE} nor any model*.safetensors")
    if stray := sorted(set(directory.model_files()) - set(files)):
        raise BundleError(f"{directory.root}: {stray[0]} is not named by {INDEX_FILE}; remove it")
    return inventory_of(tuple(read_shard(directory, name) for name in files), weight_map)


def inventory_of(shards: tuple[Shard, ...], weight_map: Mapping[str, str] | None) -> Inventory:
    """The tensors of files whose headers were read. Raises BundleError where the index says otherwise."""
    tensors = _by_name(shards)
    if weight_map is not None:
        _check_weight_map(weight_map, shards)
    return Inventory(shards, tensors)


def parse_weight_map(index: Mapping[str, object]) -> Mapping[str, str]:
    """The file of each tensor. Raises BundleError."""
    weight_map = Fields(INDEX_FILE, index).child("weight_map")
    return {name: weight_map.text(name) for name in weight_map.members}


def _by_name(shards: Iterable[Shard]) -> Mapping[str, TensorRecord]:
    tensors: dict[str, TensorRecord] = {}
    for shard in shards:
        for record in shard.tensors:
            if record.name in tensors:
                other = tensors[record.name].file
                raise BundleError(f"{shard.name}: tensor {record.name!r} stands in {other} too")
            tensors[record.name] = record
    return tensors


def _check_weight_map(weight_map: Mapping[str, str], shards: Iterable[Shard]) -> None:
    found = {record.name: shard.name for shard in shards for record in shard.tensors}
    for name, file in weight_map.items():
        if found.get(name) != file:
            where = f"it is in {found[name]}" if name in found else "no file has it"
            raise BundleError(f"{file}: tensor {name!r} is missing: {INDEX_FILE} puts it here, but {where}")
    if extra := next((name for name in found if name not in weight_map), None):
        raise BundleError(f"{found[extra]}: tensor {extra!r} is not named by {INDEX_FILE}")
