"""Health checks of workers: a silent worker is lost, one that answers again is admitted. Knows no calls.

A probe opens a new connection, so it reaches a host that came back under another address, while the calls of
a connection to the old address would wait for their whole time-out: such a worker is admitted anew.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.cluster.placement import Member, MemberState
from jangtq_coordinator.transport.name_lookup import addresses_of
from jangtq_coordinator.transport.worker_info import WorkerInfo
from jangtq_proto.addresses import Address
from jangtq_proto.errors import ClusterError
from jangtq_proto.ranges import expert_ids
from jangtq_proto.timings import TIMINGS

_AWAY = (MemberState.LEAVING, MemberState.LOST)
_log = logging.getLogger("jangtq.cluster")


@dataclass(frozen=True)
class ProbeIntervals:
    """Seconds between two probes of a worker that serves, and of a lost one; and the timeout of a probe.

    A worker that is lost repeatedly is probed less and less often, unless no other worker has its experts.
    silences: failed probes in a row after which a worker is lost.
    """

    serving_seconds: float = TIMINGS.probe
    lost_seconds: float = TIMINGS.first_lost_probe
    longest_lost_seconds: float = TIMINGS.longest_lost_probe
    answer_seconds: float = 2.0
    silences: int = 2


class HealthMonitor:
    """Probes each worker in a thread of its own.

    `ask` raises ClusterError without an answer; `check` raises it for a worker that does not fit.
    locate: as `addresses_of`.
    """

    def __init__(
        self,
        membership: Membership,
        *,
        ask: Callable[[Address, float], WorkerInfo],
        check: Callable[[WorkerInfo], None],
        intervals: ProbeIntervals | None = None,
        locate: Callable[[Address], frozenset[str]] = addresses_of,
    ) -> None:
        self._membership = membership
        self._ask = ask
        self._check = check
        self._locate = locate
        self._intervals = intervals or ProbeIntervals()
        self._stopped = threading.Event()
        self._threads: dict[str, threading.Thread] = {}

    def watch(self, address: Address) -> None:
        """Start to probe a worker, until it is removed or the monitor stops. May be repeated."""
        name = str(address)
        known = self._threads.get(name)
        if known is None or not known.is_alive():
            thread = threading.Thread(
                target=self._run, args=(address,), name=f"health of {name}", daemon=True
            )
            self._threads[name] = thread
            thread.start()

    def admit(self, address: Address) -> WorkerInfo:
        """Admit a worker on request. Raises ClusterError if it does not fit."""
        worker = self._ask(address, self._intervals.answer_seconds)
        self._check(worker)
        self._membership.admit(worker, asked_for=True)
        self.watch(address)
        return worker

    def stop(self) -> None:
        """Stop all probes."""
        self._stopped.set()
        for thread in self._threads.values():
            thread.join()

    def _run(self, address: Address) -> None:
        health = _WorkerHealth(self._locate(address))
        while not self._stopped.is_set():
            member = self._membership.member(str(address))
            if member is None:
                return
            if self._sleep(member, health):
                continue
            if member.state is MemberState.SERVING or member.state in _AWAY:
                self._probe(address, member, health)

    def _sleep(self, member: Member, health: "_WorkerHealth") -> bool:
        """Whether the placement changed meanwhile, so that the member may be lost by now."""
        placement = self._membership.placement
        seconds = self._intervals.serving_seconds
        if member.state in _AWAY:
            alone = any(not placement.workers_of[expert] for expert in expert_ids(member.info.ranges))
            doubled = self._intervals.lost_seconds * 2.0 ** (0 if alone else health.returns)
            seconds = min(doubled, self._intervals.longest_lost_seconds)
            return self._stopped.wait(seconds)
        return self._membership.wait_for_change(placement, seconds)

    def _probe(self, address: Address, member: Member, health: "_WorkerHealth") -> None:
        try:
            worker = self._ask(address, self._intervals.answer_seconds)
        except ClusterError as error:
            health.silences += 1
            self._membership.explain(member, str(error))
            if health.silences >= self._intervals.silences:
                self._membership.lose(member, str(error))
            return
        health.silences = 0
        has_moved = health.has_moved(self._locate(address), name=member.name)
        if worker.leaving:
            self._membership.leave(member)
        elif has_moved or member.state in _AWAY or not member.info.is_same(worker):
            self._readmit(member, worker, health)
        else:
            health.note_health()

    def _readmit(self, member: Member, worker: WorkerInfo, health: "_WorkerHealth") -> None:
        try:
            self._check(worker)
            self._membership.admit(worker)
        except ClusterError as error:
            health.complain(str(error))
            self._membership.lose(member, str(error))
        else:
            health.note_return()


class _WorkerHealth:
    """The probes of one worker so far."""

    _HEALTHY_VISITS = 10

    def __init__(self, addresses: frozenset[str]) -> None:
        self.silences = 0
        self.returns = 0
        self._healthy = 0
        self._complaint = ""
        self._addresses = addresses

    def has_moved(self, addresses: frozenset[str], *, name: str) -> bool:
        """Whether the worker's name stands for other addresses than before; none at all says nothing."""
        before, self._addresses = self._addresses, addresses or self._addresses
        if not before or not before.isdisjoint(self._addresses):
            return False
        shown = (", ".join(sorted(some)) for some in (before, self._addresses))
        _log.warning("worker %s moved from %s to %s: connecting anew", name, *shown)
        return True

    def note_return(self) -> None:
        self.returns = min(self.returns + 1, 8)
        self._healthy = 0

    def note_health(self) -> None:
        """After enough good probes, earlier losses no longer count."""
        self._healthy += 1
        if self._healthy >= self._HEALTHY_VISITS:
            self.returns = 0

    def complain(self, words: str) -> None:
        """Log each different reason once."""
        if words != self._complaint:
            self._complaint = words
            _log.warning("not admitted: %s", words)
