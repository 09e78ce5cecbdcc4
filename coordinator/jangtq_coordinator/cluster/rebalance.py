"""Has workers load experts that no worker serves any more, and drop them when their owner is back.

Pure functions decide who takes and drops what; a thread acts on it.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.cluster.takeover import Takeover
from jangtq_coordinator.transport.worker_info import LOCAL, WorkerInfo
from jangtq_proto.errors import ClusterError
from jangtq_proto.ranges import ExpertRange, expert_ids, format_ranges, ranges_of
from jangtq_proto.timings import TIMINGS

_LOADING_SECONDS = 600.0
_log = logging.getLogger("jangtq.cluster")
_Shares = dict[str, tuple[int, ...]]


def share_out(lost: Sequence[int], room: Mapping[str, int], *, own_room: int = 0) -> _Shares:
    """Which lost experts each worker takes, as evenly as `room` (a count of experts for each) allows.

    Neighbours stay together. The coordinator takes up to `own_room` of what is left; the rest stays lost.
    """
    left = list(lost)
    shares: _Shares = {}
    by_room = sorted((count, name) for name, count in room.items() if count > 0)
    for position, (count, name) in enumerate(by_room):
        fair = -(-len(left) // (len(by_room) - position))
        share, left = left[: min(count, fair)], left[min(count, fair) :]
        if share:
            shares[name] = tuple(share)
    if own := left[:own_room]:
        shares[LOCAL] = tuple(own)
    return shares


def to_give_back(workers: Iterable[WorkerInfo]) -> _Shares:
    """What each worker took over and an owner serves again."""
    serving = list(workers)
    taken = {worker.name: set(expert_ids(worker.taken_over)) for worker in serving}
    owned = {
        expert for held in serving for expert in expert_ids(held.ranges) if expert not in taken[held.name]
    }
    return {name: tuple(sorted(experts & owned)) for name, experts in taken.items() if experts & owned}


class Rebalancer:
    """Acts when experts had no worker, or a superfluous one, for `after_seconds`.

    expert_bytes: of one expert in all layers.
    """

    def __init__(
        self, membership: Membership, takeover: Takeover, *, after_seconds: float, expert_bytes: int
    ) -> None:
        self._membership = membership
        self._takeover = takeover
        self._after_seconds = after_seconds
        self._expert_bytes = expert_bytes
        self._asked: dict[str, float] = {}
        self._superfluous: _Shares = {}
        self._superfluous_since = 0.0
        self._logged = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="rebalancer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(TIMINGS.rebalance_check):
            if self._membership.uncovered_seconds() > self._after_seconds:
                self._rebalance()
            elif not self._membership.placement.uncovered:
                self._asked.clear()
                self._look_for_superfluous()

    def _rebalance(self) -> None:
        """A member that was asked gets time to load before another is asked for the same experts."""
        now = time.monotonic()
        if any(now - asked < _LOADING_SECONDS for asked in self._asked.values()):
            return
        placement = self._membership.placement
        room = {m.name: m.info.spare_bytes // self._expert_bytes for m in placement.members}
        own_room = self._takeover.own_spare_bytes // self._expert_bytes
        shares = share_out(expert_ids(placement.uncovered), room, own_room=own_room)
        if not shares:
            self._log_once(
                f"no worker may take over experts {format_ranges(placement.uncovered)}: see --spare-gb"
            )
        for name, experts in shares.items():
            if self._ask(self._takeover.take_over, "takes over", name, ranges_of(experts)):
                self._asked[name] = now

    def _look_for_superfluous(self) -> None:
        """Give back what stayed superfluous for a while, since an owner might come and go."""
        found = to_give_back(member.info for member in self._membership.placement.members)
        now = time.monotonic()
        if found != self._superfluous:
            self._superfluous, self._superfluous_since = found, now
        elif found and now - self._superfluous_since > self._after_seconds:
            self._superfluous_since = now + TIMINGS.give_back_again
            for name, experts in found.items():
                self._ask(self._takeover.give_back, "gives back", name, ranges_of(experts))

    def _ask(
        self,
        change: Callable[[str, Sequence[ExpertRange]], None],
        words: str,
        name: str,
        ranges: tuple[ExpertRange, ...],
    ) -> bool:
        try:
            change(name, ranges)
        except ClusterError as error:
            self._log_once(f"failed: {name} {words} experts {format_ranges(ranges)}: {error}")
            return False
        _log.warning("%s %s experts %s", name, words, format_ranges(ranges))
        return True

    def _log_once(self, words: str) -> None:
        """Log each different problem once."""
        if words != self._logged:
            self._logged = words
            _log.warning("%s", words)
