"""One layer's exchange while it is under way: what was asked of whom, what went wrong, how answers add up."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.cluster.placement import Member
from jangtq_coordinator.dispatch.native_call import NativeCall
from jangtq_coordinator.dispatch.router import WorkerRows
from jangtq_coordinator.metrics.layer_times import ExchangeTimes
from jangtq_coordinator.transport.connection import Connection, LayerAnswer
from jangtq_kernels.grid import FINEST
from jangtq_proto.errors import ClusterError
from jangtq_proto.wire.codec import LayerCall


class Asked(NamedTuple):
    """A part that a member was asked for, by a call id of its connection; `sent_ns` is of perf_counter_ns."""

    part: WorkerRows
    member: Member
    connection: Connection
    call_id: int
    sent_ns: int


class Answered(NamedTuple):
    """A part that a member answered."""

    part: WorkerRows
    member: Member
    answer: LayerAnswer


class SlowestWorker(NamedTuple):
    """The nanoseconds that the slowest worker tells of itself; `decode_ns` is of all answers."""

    name: str
    queue_ns: int
    compute_ns: int
    decode_ns: int


@dataclass(frozen=True)
class Failure:
    """A part that a member did not answer."""

    part: WorkerRows
    member: Member
    error: ClusterError


@dataclass
class Exchange:
    """`asked` are the calls whose answers are missing, `unanswered` the parts nobody is asked for now.

    given: what is asked, where native code did not ask it. native: all the calls, where it did.
    answered: what native code read before the connections went on.
    """

    began_ns: int
    started_ns: int
    given: LayerCall | None = None
    native: NativeCall | None = None
    sent_ns: int = 0
    asked: list[Asked] = field(default_factory=list)
    unanswered: list[WorkerRows] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)

    @property
    def whole(self) -> LayerCall:
        """Everything that is asked, of whomever."""
        if self.given is None:
            assert self.native is not None, "somebody asked it"
            self.given = self.native.whole()
        return self.given

    def call(self, part: WorkerRows) -> LayerCall:
        """The message for a part."""
        whole = self.whole
        rows, exponents = whole.rows, whole.exponents
        if part.row_index is not None:
            rows, exponents = rows[part.row_index], exponents[part.row_index]
        return LayerCall(
            whole.layer, rows, part.expert_ids, part.router_weights, exponents, prefill=whole.prefill
        )

    def fail(self, failure: Failure) -> None:
        """Somebody else has to be asked for this part."""
        self.failures.append(failure)
        self.unanswered.append(failure.part)


def add_up(whole: LayerCall, answered: list[Answered]) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Sums of all workers, in units of each row's grid, and the finest exponents of all answers of a row."""
    if answered and all(one.part.row_index is None for one in answered):
        return _add_whole([one.answer for one in answered])
    sums = np.zeros(whole.rows.shape, dtype=np.int32)
    finest = np.full(len(sums), FINEST, dtype=np.int8)
    for one in answered:
        if one.part.row_index is None:
            sums += one.answer.partial_sums
            np.maximum(finest, one.answer.finest, out=finest)
        else:
            index = one.part.row_index
            sums[index] += one.answer.partial_sums
            finest[index] = np.maximum(finest[index], one.answer.finest)
    return sums, finest


def _add_whole(answers: Sequence[LayerAnswer]) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Of answers to all rows: a single row, mostly, for which each array more would be felt."""
    sums, finest = answers[0].partial_sums, np.maximum(answers[0].finest, np.int8(FINEST))
    for answer in answers[1:]:
        sums, finest = sums + answer.partial_sums, np.maximum(finest, answer.finest)
    return sums, finest


def ask_again(whole: LayerCall, rows: list[int], finest: NDArray[np.int8]) -> Exchange:
    """A new exchange of some rows, on their finest grids."""
    started_ns = time.perf_counter_ns()
    call = LayerCall(
        whole.layer,
        whole.rows[rows],
        whole.expert_ids[rows],
        whole.router_weights[rows],
        exponents=finest[rows],
        prefill=whole.prefill,
    )
    return Exchange(started_ns, started_ns, call)


def slowest_of(answered: list[Answered]) -> SlowestWorker:
    """Who took longest, and what it took to decode all answers."""
    slowest, longest, decode_ns = answered[0], -1, 0
    for one in answered:
        decode_ns += one.answer.decode_ns
        spent = one.answer.queue_ns + one.answer.compute_ns
        if spent > longest:
            slowest, longest = one, spent
    return SlowestWorker(slowest.member.name, slowest.answer.queue_ns, slowest.answer.compute_ns, decode_ns)


def times_of(exchange: Exchange, slowest: SlowestWorker, *, waited_ns: int, read_ns: int) -> ExchangeTimes:
    """Where the time of an exchange went that ends now; both stamps are of time.perf_counter_ns."""
    return ExchangeTimes(
        exchange.whole.layer,
        len(exchange.whole.rows),
        exchange.began_ns,
        exchange.started_ns,
        exchange.sent_ns,
        waited_ns,
        read_ns,
        time.perf_counter_ns(),
        slowest.decode_ns,
        slowest.queue_ns,
        slowest.compute_ns,
        slowest.name,
    )
