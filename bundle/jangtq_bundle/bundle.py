"""A JANGTQ directory, checked before any weight is read. Knows no network and computes no expert."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jangtq_bundle.check import check_inventory
from jangtq_bundle.config import ModelConfig, parse_config
from jangtq_bundle.directory import CONFIG_FILE, JANG_CONFIG_FILE, Directory
from jangtq_bundle.experts import ExpertReader
from jangtq_bundle.fingerprint import fingerprint
from jangtq_bundle.hashes import HASHES_FILE, TensorHashes, parse_hashes
from jangtq_bundle.inventory import Inventory, take_inventory
from jangtq_bundle.json_files import read_json_object
from jangtq_bundle.shards import TensorRecord
from jangtq_bundle.tables import read_tables
from jangtq_bundle.vocabulary import Layout, Projection, words_per_row
from jangtq_kernels.weights import ExpertWeights
from jangtq_proto.errors import BundleError
from jangtq_proto.ranges import format_ranges, ranges_of


@dataclass(frozen=True)
class Bundle:
    """One bundle. `fingerprint` is equal on every machine that holds the same files."""

    path: Path
    config: ModelConfig
    fingerprint: str
    inventory: Inventory
    reader: ExpertReader

    @classmethod
    def open(cls, path: Path | str) -> "Bundle":
        """Check everything but the weights. Raises BundleError naming file, tensor, found and expected."""
        directory = Directory.open(Path(path))
        raw = {
            name: read_json_object(directory.require(name, reason="every JANGTQ bundle has one"), name)
            for name in (CONFIG_FILE, JANG_CONFIG_FILE)
        }
        config = parse_config(raw[CONFIG_FILE], raw[JANG_CONFIG_FILE])
        inventory = take_inventory(directory)
        check_inventory(inventory, config)
        hashes = _read_hashes(directory, inventory)
        tables = read_tables(directory, config)
        return cls(
            path=directory.root,
            config=config,
            fingerprint=fingerprint(
                raw[CONFIG_FILE], raw[JANG_CONFIG_FILE], shards=inventory.shards, hashes=hashes
            ),
            inventory=inventory,
            reader=ExpertReader(config, inventory.layout, inventory.tensors, tables, hashes),
        )

    @property
    def layout(self) -> Layout:
        return self.reader.layout

    @property
    def config_path(self) -> Path:
        """The Hugging Face configuration, for mlx-lm."""
        return self.path / CONFIG_FILE

    @property
    def weight_files(self) -> tuple[Path, ...]:
        """The safetensors files with weights, without the sidecar, sorted by name."""
        return tuple(shard.path for shard in self.inventory.shards)

    @cached_property
    def expert_nbytes(self) -> int:
        """Bytes of one expert of one layer: codes and norms."""
        return sum(self._matrix_nbytes(projection) for projection in Projection)

    def dense_tensors(self) -> tuple[TensorRecord, ...]:
        """Every tensor that belongs to no routed expert, sorted by name."""
        tensors = self.inventory.tensors
        return tuple(tensors[name] for name in sorted(tensors) if not _is_routed_expert(name))

    @property
    def has_hashes(self) -> bool:
        """Whether all bytes are compared with the bundle's own hashes when they are loaded."""
        return self.reader.hashes is not None

    def check_dense(self) -> None:
        """Compare all but the routed experts with the hashes, where there are any. Raises BundleError."""
        if self.reader.hashes is not None:
            self.reader.hashes.check_files(self.dense_tensors())

    def check_experts(self, expert_ids: Iterable[int]) -> None:
        """Raises BundleError when the model lacks one of these experts."""
        outside = [expert for expert in expert_ids if not 0 <= expert < self.config.expert_count]
        if outside:
            raise BundleError(
                f"experts {format_ranges(ranges_of(outside))} are outside the model, "
                f"which has experts 0-{self.config.expert_count - 1}"
            )

    def read_experts(self, layer: int, expert_ids: tuple[int, ...]) -> ExpertWeights:
        """The packed weights of some experts of a layer, in the order given, each named once.

        Reads the bytes of these experts and no others, into new arrays. Raises BundleError.
        """
        if not 0 <= layer < self.config.layer_count:
            raise BundleError(
                f"layer {layer} is outside the model, which has layers 0-{self.config.layer_count - 1}"
            )
        if not expert_ids or len(set(expert_ids)) != len(expert_ids):
            raise BundleError(f"experts {list(expert_ids)}: expected at least one, each once")
        self.check_experts(expert_ids)
        gate, up, down = (
            self.reader.read_matrix(layer, projection, expert_ids)
            for projection in (Projection.GATE, Projection.UP, Projection.DOWN)
        )
        return ExpertWeights(expert_ids, gate=gate, up=up, down=down)

    def _matrix_nbytes(self, projection: Projection) -> int:
        words = words_per_row(self.config.in_features(projection), self.config.bits.of(projection))
        return self.config.out_features(projection) * (4 * words + 2)


def _read_hashes(directory: Directory, inventory: Inventory) -> TensorHashes | None:
    path = directory.find(HASHES_FILE)
    return None if path is None else parse_hashes(read_json_object(path, HASHES_FILE), inventory)


def _is_routed_expert(name: str) -> bool:
    return ".switch_mlp." in name or ".block_sparse_moe.experts." in name
