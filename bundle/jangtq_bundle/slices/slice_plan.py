"""Plans which bytes of a bundle a slice copies, and to which places. Reads no tensor data."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jangtq_bundle.hashes import TensorHashes, is_stacked
from jangtq_bundle.holdings import Holdings
from jangtq_bundle.inventory import Inventory
from jangtq_bundle.shards import TensorRecord
from jangtq_bundle.writing.shard_plan import NewTensor, PlannedShard, plan_shards

SHARD_BYTES: Final = 256 * 2**20
"""What an interruption may cost; a fourth of what converters write."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of one source file that become part `part` of a tensor, from its byte `at` on."""

    tensor: str
    part: int
    at: int
    file: str
    offset: int
    nbytes: int

    @property
    def end(self) -> int:
        return self.offset + self.nbytes


@dataclass(frozen=True)
class SlicePlan:
    """The files of the slice and, by tensor, what they are made of."""

    shards: tuple[PlannedShard, ...]
    pieces: Mapping[str, tuple[Piece, ...]]

    def pieces_of(self, shard: PlannedShard) -> list[Piece]:
        """In the order of the source's files, so that neighbours can be read at once."""
        pieces = [piece for tensor in shard.tensors for piece in self.pieces[tensor.name]]
        return sorted(pieces, key=lambda piece: (piece.file, piece.offset))


def plan_slice(
    inventory: Inventory, held: Sequence[int], wanted: Holdings, *, shard_bytes: int = SHARD_BYTES
) -> SlicePlan:
    """`held` are the experts that stacked tensors of the source hold, in order: all in a whole bundle."""
    pieces: dict[str, tuple[Piece, ...]] = {}
    tensors: list[NewTensor] = []
    for record in sorted(inventory.tensors.values(), key=lambda record: (record.file, record.offset)):
        parts = tuple(_pieces(record, held, wanted))
        if not parts:
            continue
        shape = (len(parts), *record.shape[1:]) if is_stacked(record.name) else record.shape
        tensors.append(NewTensor(record.name, record.dtype, shape))
        pieces[record.name] = parts
    return SlicePlan(plan_shards(([tensor] for tensor in tensors), shard_bytes=shard_bytes), pieces)


def neighbours(pieces: Iterable[Piece], *, most_bytes: int) -> Iterator[tuple[Piece, ...]]:
    """Runs of pieces that follow each other in one file, of about `most_bytes`."""
    run: list[Piece] = []
    for piece in pieces:
        is_next = run and run[-1].file == piece.file and run[-1].end == piece.offset
        if run and (not is_next or piece.end - run[0].offset > most_bytes):
            yield tuple(run)
            run = []
        run.append(piece)
    if run:
        yield tuple(run)


def expected_digests(hashes: TensorHashes, held: Sequence[int], wanted: Holdings) -> TensorHashes:
    """The digests of the slice's tensors, out of those of its source."""
    places = {expert: place for place, expert in enumerate(held)}
    chosen = [places[expert] for expert in wanted.experts]
    return TensorHashes(
        {
            name: tuple(digests[place] for place in chosen) if is_stacked(name) else digests
            for name, digests in hashes.digests.items()
        }
    )


def expert_of(name: str) -> int | None:
    """The expert that a tensor of the one-by-one layout belongs to."""
    before, found, after = name.partition(".block_sparse_moe.experts.")
    return int(after.partition(".")[0]) if found else None


def _pieces(record: TensorRecord, held: Sequence[int], wanted: Holdings) -> Iterator[Piece]:
    if is_stacked(record.name):
        stride = record.nbytes // record.shape[0]
        places = {expert: place for place, expert in enumerate(held)}
        for part, expert in enumerate(wanted.experts):
            offset = record.offset + places[expert] * stride
            yield Piece(record.name, part, part * stride, record.file, offset, stride)
        return
    if _is_wanted(record.name, wanted):
        yield Piece(record.name, 0, 0, record.file, record.offset, record.nbytes)


def _is_wanted(name: str, wanted: Holdings) -> bool:
    if ".switch_mlp." in name:
        return bool(wanted.experts)
    expert = expert_of(name)
    return wanted.has_dense if expert is None else expert in wanted.experts
