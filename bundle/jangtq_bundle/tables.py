"""Codebooks and signs of a bundle: from its sidecar where it has one, computed and compared in any case."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jangtq_bundle.config import ModelConfig
from jangtq_bundle.directory import SIDECAR_FILE, Directory
from jangtq_bundle.shards import TensorRecord, read_shard
from jangtq_bundle.tensors import read_bytes
from jangtq_bundle.vocabulary import Projection
from jangtq_kernels.codebook import compute_codebook
from jangtq_kernels.rotation import generate_signs
from jangtq_proto.errors import BundleError

CODEBOOK_TOLERANCE = 1e-6
"""Relative to the largest centroid: exp and log of two C libraries may differ in the last place."""


@dataclass(frozen=True)
class RotationTable:
    """What the codes of one projection mean: codebook float32 [2**bits], signs float32 [in]."""

    codebook: NDArray[np.float32]
    signs: NDArray[np.float32]


def read_tables(directory: Directory, config: ModelConfig) -> Mapping[Projection, RotationTable]:
    """Tables of the three projections. Raises BundleError when the sidecar disagrees with the format."""
    sidecar = _sidecar(directory)
    return {projection: _table(sidecar, config, projection) for projection in Projection}


def sidecar_names(config: ModelConfig, projection: Projection) -> tuple[str, str]:
    """Names of the codebook and of the signs."""
    in_features, bits = config.in_features(projection), config.bits.of(projection)
    return f"codebook.{in_features}.{bits}", f"signs.{in_features}.{config.seed}"


def compute_table(config: ModelConfig, projection: Projection) -> RotationTable:
    in_features = config.in_features(projection)
    return RotationTable(
        codebook=compute_codebook(in_features, config.bits.of(projection)),
        signs=generate_signs(in_features, config.seed),
    )


def _sidecar(directory: Directory) -> Mapping[str, TensorRecord]:
    if directory.find(SIDECAR_FILE) is None:
        return {}
    return {record.name: record for record in read_shard(directory, SIDECAR_FILE).tensors}


def _table(sidecar: Mapping[str, TensorRecord], config: ModelConfig, projection: Projection) -> RotationTable:
    computed = compute_table(config, projection)
    codebook_name, signs_name = sidecar_names(config, projection)
    tolerance = CODEBOOK_TOLERANCE * float(np.abs(computed.codebook).max())
    return RotationTable(
        codebook=_compare(sidecar.get(codebook_name), computed.codebook, tolerance=tolerance),
        signs=_compare(sidecar.get(signs_name), computed.signs, tolerance=0.0),
    )


def _compare(
    record: TensorRecord | None, computed: NDArray[np.float32], *, tolerance: float
) -> NDArray[np.float32]:
    """The stored values when there are any. They must equal the computed ones."""
    if record is None:
        return computed
    where = f"{record.file}: tensor {record.name!r}"
    if record.dtype != "F32" or record.shape != computed.shape:
        raise BundleError(
            f"{where}: found {list(record.shape)} of {record.dtype}, expected {list(computed.shape)} of F32"
        )
    stored = np.frombuffer(read_bytes(record.path, offset=record.offset, length=record.nbytes), dtype="<f4")
    wrong = np.flatnonzero(~(np.abs(stored - computed) <= tolerance))
    if wrong.size:
        first = int(wrong[0])
        raise BundleError(f"{where}: value {first} is {stored[first]}, expected {computed[first]}")
    return stored.astype(np.float32)
