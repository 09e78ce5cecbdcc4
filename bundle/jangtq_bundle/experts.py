"""Codes and norms of chosen experts out of the files, in either layout. Reads no other expert's bytes."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jangtq_bundle.config import ModelConfig
from jangtq_bundle.hashes import TensorHashes, hash_blocks
from jangtq_bundle.shards import TensorRecord
from jangtq_bundle.tables import RotationTable
from jangtq_bundle.tensors import open_for_reading, read_into
from jangtq_bundle.vocabulary import Layout, Part, Projection, single_name, stacked_name, words_per_row
from jangtq_kernels.weights import PackedMatrix


@dataclass(frozen=True)
class Extent:
    """Bytes of a file that belong to `count` neighbouring experts."""

    path: Path
    offset: int
    nbytes: int
    count: int = 1

    @property
    def end(self) -> int:
        return self.offset + self.nbytes


@dataclass(frozen=True)
class Place:
    """Where one expert lies: a tensor of its own, or part `part` of a stack."""

    record: TensorRecord
    extent: Extent
    stacked_expert: int | None = None
    part: int = 0


def merge_neighbours(extents: Iterable[Extent]) -> Iterator[Extent]:
    """Join extents that follow each other in one file, so that one read fetches them."""
    run: Extent | None = None
    for extent in extents:
        if run is not None and run.path == extent.path and run.end == extent.offset:
            run = Extent(run.path, run.offset, run.nbytes + extent.nbytes, run.count + extent.count)
            continue
        if run is not None:
            yield run
        run = extent
    if run is not None:
        yield run


@dataclass(frozen=True)
class ExpertReader:
    """Reads packed matrices of a checked bundle, and compares them with its hashes where it has some.

    held: the experts of stacked tensors, in order; None for all.
    """

    config: ModelConfig
    layout: Layout
    tensors: Mapping[str, TensorRecord]
    tables: Mapping[Projection, RotationTable]
    hashes: TensorHashes | None = None
    held: tuple[int, ...] | None = None

    def read_matrix(self, layer: int, projection: Projection, expert_ids: tuple[int, ...]) -> PackedMatrix:
        """One projection of the experts given, copied into new arrays. Raises BundleError."""
        bits, table = self.config.bits.of(projection), self.tables[projection]
        rows = self.config.out_features(projection)
        words = words_per_row(self.config.in_features(projection), bits)
        codes = np.empty((len(expert_ids), rows, words), dtype=np.uint32)
        self._read(codes, self.places(layer, projection, part=Part.CODES, expert_ids=expert_ids))
        norms = self.read_norms(layer, projection, expert_ids)
        return PackedMatrix(codes, norms, codebook=table.codebook, signs=table.signs, bits=bits)

    def read_norms(
        self, layer: int, projection: Projection, expert_ids: tuple[int, ...]
    ) -> NDArray[np.float16]:
        """Only the norms of the same, float16 [experts, out]. Raises BundleError."""
        norms = np.empty((len(expert_ids), self.config.out_features(projection)), dtype=np.float16)
        self._read(norms, self.places(layer, projection, part=Part.NORMS, expert_ids=expert_ids))
        return norms

    def _read(self, target: NDArray[np.generic], places: Iterable[Place]) -> None:
        places = list(places)
        _fill(target, (place.extent for place in places))
        self._check(target, places)

    def places(
        self, layer: int, projection: Projection, *, part: Part, expert_ids: tuple[int, ...]
    ) -> Iterator[Place]:
        """Where codes or norms of these experts lie, in the order given."""
        if self.layout is Layout.PRESTACKED:
            record = self.tensors[stacked_name(layer, projection, part)]
            stride = record.nbytes // record.shape[0]
            for expert in expert_ids:
                place = self._place_of(expert)
                yield Place(
                    record, Extent(record.path, record.offset + place * stride, stride), expert, place
                )
            return
        for expert in expert_ids:
            record = self.tensors[single_name(layer, expert, projection=projection, part=part)]
            yield Place(record, Extent(record.path, record.offset, record.nbytes))

    def _place_of(self, expert: int) -> int:
        """In stacked tensors, which hold the experts of a slice alone."""
        return expert if self.held is None else self.held.index(expert)

    def _check(self, found: NDArray[np.generic], places: list[Place]) -> None:
        if self.hashes is None:
            return
        for place, digest in zip(places, hash_blocks(found), strict=True):
            self.hashes.check(place.record, digest, part=place.part, expert=place.stacked_expert)


def _fill(target: NDArray[np.generic], extents: Iterable[Extent]) -> None:
    position = 0
    files: dict[Path, FileIO] = {}
    with ExitStack() as stack:
        for extent in merge_neighbours(extents):
            if extent.path not in files:
                files[extent.path] = stack.enter_context(open_for_reading(extent.path, cached=False))
            read_into(files[extent.path], target[position : position + extent.count], offset=extent.offset)
            position += extent.count
