"""Has survivors load what nobody serves any more. Who takes what is decided purely; a thread acts on it."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from jangtq_coordinator.membership import Membership
from jangtq_proto.addresses import Address, parse_address
from jangtq_proto.errors import ClusterError
from jangtq_proto.ranges import ExpertRange, expert_ids, format_ranges, ranges_of

_CHECK_SECONDS = 0.25
_LOADING_SECONDS = 600.0
_log = logging.getLogger("jangtq.cluster")
TakeOver = Callable[[Address, tuple[ExpertRange, ...]], None]


def share_out(lost: Sequence[int], room: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Which lost experts each survivor takes: as evenly as `room`, a count of experts each, allows.

    Neighbours stay together. What has no room is left out.
    """
    left = list(lost)
    shares: dict[str, tuple[int, ...]] = {}
    by_room = sorted((count, name) for name, count in room.items() if count > 0)
    for position, (count, name) in enumerate(by_room):
        fair = -(-len(left) // (len(by_room) - position))
        share, left = left[: min(count, fair)], left[min(count, fair) :]
        if share:
            shares[name] = tuple(share)
    return shares


class Rebalancer:
    """Acts when experts had no holder for `after_seconds`; `expert_bytes` is one expert of all layers."""

    def __init__(
        self, membership: Membership, take_over: TakeOver, *, after_seconds: float, expert_bytes: int
    ) -> None:
        self._membership = membership
        self._take_over = take_over
        self._after_seconds = after_seconds
        self._expert_bytes = expert_bytes
        self._asked: dict[str, float] = {}
        self._told = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="rebalancer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask nobody any more."""
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(_CHECK_SECONDS):
            if self._membership.uncovered_seconds() > self._after_seconds:
                self._rebalance()
            elif not self._membership.plan.uncovered:
                self._asked.clear()

    def _rebalance(self) -> None:
        """A member that was asked is given time to load before somebody else is asked for the same."""
        now = time.monotonic()
        if any(now - asked < _LOADING_SECONDS for asked in self._asked.values()):
            return
        plan = self._membership.plan
        room = {m.name: m.holder.spare_bytes // self._expert_bytes for m in plan.members}
        shares = share_out(expert_ids(plan.uncovered), room)
        if not shares:
            self._tell(f"no worker may take over experts {format_ranges(plan.uncovered)}: see its --spare-gb")
        for name, experts in shares.items():
            self._ask(name, ranges_of(experts))

    def _ask(self, name: str, ranges: tuple[ExpertRange, ...]) -> None:
        try:
            self._take_over(parse_address(name), ranges)
        except ClusterError as error:
            self._tell(f"worker {name} does not take over experts {format_ranges(ranges)}: {error}")
            return
        self._asked[name] = time.monotonic()
        _log.warning("worker %s takes over experts %s", name, format_ranges(ranges))

    def _tell(self, words: str) -> None:
        """Once for each different trouble."""
        if words != self._told:
            self._told = words
            _log.warning("%s", words)
