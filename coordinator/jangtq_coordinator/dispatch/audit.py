"""Audits: a second worker computes a share of the exchanges, and answers are compared to the bit."""

import logging
import random
import time
from collections.abc import Sequence

import numpy as np

from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.dispatch.codec import LayerRows, Reply
from jangtq_coordinator.dispatch.collector import Collector
from jangtq_coordinator.dispatch.exchange import Answered, Exchange
from jangtq_coordinator.dispatch.numpy_codec import add_units

_log = logging.getLogger("jangtq.cluster")


class Auditor:
    """Audits `rate` of the exchanges, where members with the same kind of device hold the same experts."""

    def __init__(self, membership: Membership, collector: Collector, *, rate: float) -> None:
        self._membership = membership
        self._collector = collector
        self._rate = rate
        self._random = random.Random(0)

    def is_due(self) -> bool:
        """Whether the exchange that finishes now should be audited."""
        return self._rate > 0 and self._random.random() < self._rate

    def audit(self, exchange: Exchange) -> bool:
        """Whether a wrong answer was found and replaced. Raises ClusterError as any exchange does."""
        answered = exchange.answered
        if not answered:
            return False
        position = self._random.randrange(len(answered))
        first = answered[position]
        rows = exchange.rows._replace(expert_ids=first.part.own_ids())
        second = self._ask_others(rows, [first])
        if second is None:
            return False
        self._membership.counters.audits += 1
        if _agree(rows, [first], second):
            return False
        self._membership.counters.disagreements += 1
        answered[position : position + 1] = self._judge(rows, [first], second)
        return True

    def _ask_others(self, rows: LayerRows, answered: Sequence[Answered]) -> list[Answered] | None:
        """Ask members that have not answered yet; None if there are none."""
        placement = self._membership.placement
        asked = {one.member.name for one in answered}
        device = answered[0].member.info.device
        avoid = asked | {member.name for member in placement.members if member.info.device != device}
        for expert in set(rows.expert_ids[rows.expert_ids >= 0].tolist()):
            if all(placement.members[position].name in avoid for position in placement.workers_of[expert]):
                return None
        now = time.perf_counter_ns()
        again = Exchange(rows, now, now)
        self._collector.ask(again, avoid=frozenset(avoid))
        self._collector.collect(again)
        return None if any(one.member.name in avoid for one in again.answered) else again.answered

    def _judge(self, rows: LayerRows, first: list[Answered], second: list[Answered]) -> list[Answered]:
        """The answers with which a third worker agrees. A member that alone differs is quarantined."""
        third = self._ask_others(rows, [*first, *second])
        for right, wrong in ((first, second), (second, first)):
            if third is not None and _agree(rows, right, third):
                self._convict(rows.layer, wrong)
                return right
        _log.error(
            "layer %d: %s and %s disagree, and no third worker can decide which is right",
            rows.layer,
            _names(first),
            _names(second),
        )
        return first

    def _convict(self, layer: int, wrong: list[Answered]) -> None:
        _log.error("layer %d: %s answered wrong, as two others prove", layer, _names(wrong))
        if len(wrong) == 1:
            reason = f"its answer to layer {layer} differs from those of two others"
            self._membership.quarantine(wrong[0].member, reason)
            return
        for one in wrong:
            self._collector.strike(one.member, f"a sum of layer {layer} that it was part of was wrong")


def _names(answered: Sequence[Answered]) -> str:
    return ", ".join(sorted({f"worker {one.member.name}" for one in answered}))


def _agree(rows: LayerRows, one: Sequence[Answered], other: Sequence[Answered]) -> bool:
    """Rows whose grid does not suit their answers have meaningless sums, which are not compared."""
    (units, finest), (other_units, other_finest) = (
        add_units(rows.rows.shape, [Reply(found.part, found.frame) for found in answered])
        for answered in (one, other)
    )
    meant = finest <= rows.exponents
    return np.array_equal(finest, other_finest) and np.array_equal(units[meant], other_units[meant])
