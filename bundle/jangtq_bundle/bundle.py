"""A JANGTQ directory, checked before any weight is read. Knows no network and computes no expert."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jangtq_bundle.check import check_inventory
from jangtq_bundle.config import ModelConfig, parse_config
from jangtq_bundle.declarations import declared_affine, declared_bits
from jangtq_bundle.directory import CONFIG_FILE, JANG_CONFIG_FILE, Directory
from jangtq_bundle.experts import ExpertReader
from jangtq_bundle.fingerprint import fingerprint
from jangtq_bundle.formats import ReadTensor, corrections, read_formats, read_local_tensor
from jangtq_bundle.hashes import HASHES_FILE, TensorHashes, parse_hashes
from jangtq_bundle.holdings import SLICE_FILE, Holdings, SliceFacts, parse_slice
from jangtq_bundle.inventory import Inventory, take_inventory
from jangtq_bundle.json_files import read_json_object
from jangtq_bundle.models import located
from jangtq_bundle.scales import layer_scales
from jangtq_bundle.shards import TensorRecord
from jangtq_bundle.tables import read_tables
from jangtq_bundle.vocabulary import Layout, Projection, words_per_row
from jangtq_kernels.weights import ExpertWeights
from jangtq_proto.errors import BundleError
from jangtq_proto.ranges import format_ranges, ranges_of

_log = logging.getLogger("jangtq.bundle")


@dataclass(frozen=True)
class Bundle:
    """One bundle, or a slice of one. `fingerprint` is that of the whole, equal on all its machines."""

    path: Path
    config: ModelConfig
    fingerprint: str
    inventory: Inventory
    reader: ExpertReader
    holdings: Holdings
    slice_facts: SliceFacts | None = None

    @classmethod
    def open(cls, path: Path | str) -> "Bundle":
        """Check everything but the weights; `demo` is the bundle that comes with the package.

        Raises BundleError naming file, tensor, found and expected.
        """
        directory = Directory.open(located(Path(path)))
        raw = _read_json(directory)
        inventory = take_inventory(directory)
        config = read_model(raw, inventory)
        facts = _read_slice(directory)
        if facts is None:
            inventory.check_packed(directory.root)
        holdings = facts.holdings if facts else Holdings.whole(config.expert_count)
        check_inventory(inventory, config, holdings)
        hashes = _read_hashes(directory, inventory)
        tables = read_tables(directory, config)
        return cls(
            path=directory.root,
            config=config,
            fingerprint=facts.fingerprint
            if facts
            else fingerprint(raw[CONFIG_FILE], raw[JANG_CONFIG_FILE], shards=inventory.shards, hashes=hashes),
            inventory=inventory,
            reader=ExpertReader(
                config, inventory.layout, inventory.tensors, tables, hashes, held=holdings.experts
            ),
            holdings=holdings,
            slice_facts=facts,
        )

    @property
    def layout(self) -> Layout:
        return self.reader.layout

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

    def check_tokenizer(self) -> None:
        """Raise BundleError where files of the tokenizer are missing or not downloaded."""
        Directory(self.path).check_tokenizer()

    def check_dense(self) -> None:
        """Compare all but the routed experts with the hashes, where there are any. Raises BundleError."""
        if self.reader.hashes is not None:
            self.reader.hashes.check_files(self.dense_tensors())

    @cached_property
    def layer_scales(self) -> NDArray[np.float64]:
        """float64 [layers], of the whole bundle: see jangtq_bundle.scales. Raises BundleError."""
        if self.slice_facts is not None:
            return np.array(self.slice_facts.layer_scales)
        return layer_scales(self.config, self.reader.read_norms)

    def require_dense(self) -> None:
        """Raises BundleError where only experts are here, as on a worker's machine."""
        if not self.holdings.has_dense:
            raise BundleError(
                f"{self.path}: holds {self.holdings}; a coordinator needs the rest: take the whole "
                "bundle, or `jangtq-bundle get ORG/NAME --coordinator`"
            )

    def check_experts(self, expert_ids: Iterable[int]) -> None:
        """Raises BundleError when the model, or this slice of it, lacks one of these experts."""
        expert_ids = tuple(expert_ids)
        outside = [expert for expert in expert_ids if not 0 <= expert < self.config.expert_count]
        if outside:
            raise BundleError(
                f"experts {format_ranges(ranges_of(outside))} are outside the model, "
                f"which has experts 0-{self.config.expert_count - 1}"
            )
        absent = sorted(set(expert_ids) - set(self.holdings.experts))
        if absent:
            raise BundleError(
                f"{self.path}: experts {format_ranges(ranges_of(absent))} are not here: this slice holds "
                f"{self.holdings}"
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


def read_model(
    raw: Mapping[str, Mapping[str, object]],
    inventory: Inventory,
    *,
    read: ReadTensor = read_local_tensor,
) -> ModelConfig:
    """The model that both configurations, by file name, and the tensors describe. Raises BundleError.

    The tensors decide on formats; the log says what the files declare otherwise.
    """
    model, jang = raw[CONFIG_FILE], raw[JANG_CONFIG_FILE]
    declared = parse_config(model, jang)
    formats = read_formats(inventory, declared, read=read)
    corrected = corrections(
        formats,
        bits=declared_bits(model, jang),
        affine=declared_affine(model),
        layout=(jang.get("routed_expert_layout"), inventory.layout),
    )
    if listed := "; ".join(corrected):
        _log.info("the bundle's tensors correct what its files declare: %s", listed)
    return formats.apply(declared)


def _read_json(directory: Directory) -> Mapping[str, Mapping[str, object]]:
    """Both configurations; the reference, too, takes a bundle without jang_config.json."""
    required = directory.require(CONFIG_FILE, reason="every JANGTQ bundle has one")
    jang = directory.find(JANG_CONFIG_FILE)
    return {
        CONFIG_FILE: read_json_object(required, CONFIG_FILE),
        JANG_CONFIG_FILE: {} if jang is None else read_json_object(jang, JANG_CONFIG_FILE),
    }


def _read_slice(directory: Directory) -> SliceFacts | None:
    path = directory.find(SLICE_FILE)
    return None if path is None else parse_slice(read_json_object(path, SLICE_FILE))


def _read_hashes(directory: Directory, inventory: Inventory) -> TensorHashes | None:
    path = directory.find(HASHES_FILE)
    return None if path is None else parse_hashes(read_json_object(path, HASHES_FILE), inventory)


def _is_routed_expert(name: str) -> bool:
    return ".switch_mlp." in name or ".block_sparse_moe.experts." in name
