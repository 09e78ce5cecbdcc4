"""Looks after the workers: notices who fell silent, and lets back in who answers again. Knows no calls."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.cluster.placement import Member, MemberState
from jangtq_coordinator.transport.worker_info import WorkerInfo
from jangtq_proto.addresses import Address
from jangtq_proto.errors import ClusterError
from jangtq_proto.ranges import expert_ids

_AWAY = (MemberState.LEAVING, MemberState.LOST)
_log = logging.getLogger("jangtq.cluster")


@dataclass(frozen=True)
class ProbeIntervals:
    """Seconds between two questions to a worker that serves, and to one that is lost; and for an answer.

    A worker that is lost again and again is asked ever later, unless nobody else has its experts.
    """

    serving_seconds: float = 1.0
    lost_seconds: float = 0.2
    longest_lost_seconds: float = 10.0
    answer_seconds: float = 2.0
    silences: int = 2


class HealthMonitor:
    """A thread for each worker. `ask` raises ClusterError, `check` too where a worker does not fit."""

    def __init__(
        self,
        membership: Membership,
        *,
        ask: Callable[[Address, float], WorkerInfo],
        check: Callable[[WorkerInfo], None],
        rhythm: ProbeIntervals | None = None,
    ) -> None:
        self._membership = membership
        self._ask = ask
        self._check = check
        self._rhythm = rhythm or ProbeIntervals()
        self._stopped = threading.Event()
        self._threads: dict[str, threading.Thread] = {}

    def look_after(self, address: Address) -> None:
        """From now on, until it is removed or the health_monitor stops. May be repeated."""
        name = str(address)
        known = self._threads.get(name)
        if known is None or not known.is_alive():
            thread = threading.Thread(
                target=self._watch, args=(address,), name=f"health_monitor of {name}", daemon=True
            )
            self._threads[name] = thread
            thread.start()

    def admit(self, address: Address) -> WorkerInfo:
        """Let a worker in because somebody asked for it. Raises ClusterError where it does not fit."""
        worker = self._ask(address, self._rhythm.answer_seconds)
        self._check(worker)
        self._membership.admit(worker, asked_for=True)
        self.look_after(address)
        return worker

    def stop(self) -> None:
        """Ask nobody any more."""
        self._stopped.set()
        for thread in self._threads.values():
            thread.join()

    def _watch(self, address: Address) -> None:
        visit = _WorkerHealth()
        while not self._stopped.is_set():
            member = self._membership.member(str(address))
            if member is None:
                return
            if self._sleep(member, visit):
                continue
            if member.state is MemberState.SERVING or member.state in _AWAY:
                self._visit(address, member, visit)

    def _sleep(self, member: Member, visit: "_WorkerHealth") -> bool:
        """Whether the placement changed meanwhile, so that the member may be lost by now."""
        placement = self._membership.placement
        seconds = self._rhythm.serving_seconds
        if member.state in _AWAY:
            alone = any(not placement.workers_of[expert] for expert in expert_ids(member.info.ranges))
            doubled = self._rhythm.lost_seconds * 2.0 ** (0 if alone else visit.returns)
            seconds = min(doubled, self._rhythm.longest_lost_seconds)
            return self._stopped.wait(seconds)
        return self._membership.wait_for_change(placement, seconds)

    def _visit(self, address: Address, member: Member, visit: "_WorkerHealth") -> None:
        try:
            worker = self._ask(address, self._rhythm.answer_seconds)
        except ClusterError as error:
            visit.silences += 1
            self._membership.explain(member, str(error))
            if visit.silences >= self._rhythm.silences:
                self._membership.lose(member, str(error))
            return
        visit.silences = 0
        if worker.leaving:
            self._membership.leave(member)
        elif member.state in _AWAY or not member.info.is_same(worker):
            self._readmit(member, worker, visit)
        else:
            visit.note_health()

    def _readmit(self, member: Member, worker: WorkerInfo, visit: "_WorkerHealth") -> None:
        try:
            self._check(worker)
            self._membership.admit(worker)
        except ClusterError as error:
            visit.complain(str(error))
            self._membership.lose(member, str(error))
        else:
            visit.note_return()


class _WorkerHealth:
    """What the health_monitor remembers of one worker."""

    _HEALTHY_VISITS = 10

    def __init__(self) -> None:
        self.silences = 0
        self.returns = 0
        self._healthy = 0
        self._complaint = ""

    def note_return(self) -> None:
        self.returns = min(self.returns + 1, 8)
        self._healthy = 0

    def note_health(self) -> None:
        """Seen well often enough, earlier losses are forgiven."""
        self._healthy += 1
        if self._healthy >= self._HEALTHY_VISITS:
            self.returns = 0

    def complain(self, words: str) -> None:
        """Once for each different complaint."""
        if words != self._complaint:
            self._complaint = words
            _log.warning("not let in: %s", words)
