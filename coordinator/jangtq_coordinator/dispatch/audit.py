"""Asks somebody else for what was answered already, now and then, and compares to the bit."""

import logging
import random
import time
from collections.abc import Sequence

import numpy as np

from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.dispatch.collector import Collector
from jangtq_coordinator.dispatch.exchange import Answered, Exchange, add_up
from jangtq_proto.wire.codec import LayerCall

_log = logging.getLogger("jangtq.cluster")


class Auditor:
    """`rate` of the exchanges are audited, where members with one kind of device hold the same experts."""

    def __init__(self, membership: Membership, collector: Collector, *, rate: float) -> None:
        self._membership = membership
        self._collector = collector
        self._rate = rate
        self._random = random.Random(0)

    def is_due(self) -> bool:
        """Whether the exchange that is about to be finished is one of those to be audited."""
        return self._rate > 0 and self._random.random() < self._rate

    def audit(self, exchange: Exchange, answered: list[Answered]) -> None:
        """Replaces an answer that is found to be wrong. Raises ClusterError as any exchange does."""
        if not answered:
            return
        position = self._random.randrange(len(answered))
        first = answered[position]
        call = exchange.call(first.part)
        second = self._ask_others(call, [first])
        if second is None:
            return
        self._membership.counters.audits += 1
        alone = [first._replace(part=first.part._replace(row_index=None))]
        if not _agree(call, alone, second):
            self._membership.counters.disagreements += 1
            right = self._judge(call, alone, second)
            answered[position : position + 1] = [
                one._replace(part=one.part.within(first.part.row_index)) for one in right
            ]

    def _ask_others(self, call: LayerCall, answered: Sequence[Answered]) -> list[Answered] | None:
        """The same of nobody who answered already; None where that cannot be."""
        placement = self._membership.placement
        asked = {one.member.name for one in answered}
        device = answered[0].member.info.device
        avoid = asked | {member.name for member in placement.members if member.info.device != device}
        for expert in set(call.expert_ids[call.expert_ids >= 0].tolist()):
            if all(placement.members[position].name in avoid for position in placement.workers_of[expert]):
                return None
        now = time.perf_counter_ns()
        again = Exchange(now, now, call)
        self._collector.ask(again, avoid=frozenset(avoid))
        found = self._collector.collect(again)
        return None if any(one.member.name in avoid for one in found) else found

    def _judge(self, call: LayerCall, first: list[Answered], second: list[Answered]) -> list[Answered]:
        """Those with whom a third agrees; the others are put in quarantine where one alone is to blame."""
        third = self._ask_others(call, [*first, *second])
        for right, wrong in ((first, second), (second, first)):
            if third is not None and _agree(call, right, third):
                self._convict(call, wrong)
                return right
        _log.error(
            "layer %d: %s and %s disagree, and nobody else can tell who is right",
            call.layer,
            _names(first),
            _names(second),
        )
        return first

    def _convict(self, call: LayerCall, wrong: list[Answered]) -> None:
        _log.error("layer %d: %s answered wrong, as two others prove", call.layer, _names(wrong))
        if len(wrong) == 1:
            reason = f"its answer to layer {call.layer} differs from those of two others"
            self._membership.quarantine(wrong[0].member, reason)
            return
        for one in wrong:
            self._collector.strike(one.member, f"a sum of layer {call.layer} that it was part of was wrong")


def _names(answered: Sequence[Answered]) -> str:
    return ", ".join(sorted({f"worker {one.member.name}" for one in answered}))


def _agree(call: LayerCall, one: list[Answered], other: list[Answered]) -> bool:
    """Sums of rows whose grid does not suit their answers have no meaning, and are not compared."""
    (sums, finest), (other_sums, other_finest) = add_up(call, one), add_up(call, other)
    meant = finest <= call.exponents
    return np.array_equal(finest, other_finest) and np.array_equal(sums[meant], other_sums[meant])
