"""Asks workers, or this process, to take over experts and to give them back."""

from collections.abc import Sequence
from dataclasses import dataclass

from jangtq_coordinator.transport.control_client import ControlClient
from jangtq_coordinator.transport.local_experts import LocalExperts
from jangtq_coordinator.transport.worker_info import LOCAL
from jangtq_proto.addresses import parse_address
from jangtq_proto.ranges import ExpertRange


@dataclass(frozen=True)
class Takeover:
    """Members by name. Safe in any thread."""

    prober: ControlClient
    local: LocalExperts | None = None

    @property
    def own_spare_bytes(self) -> int:
        """Bytes of experts that this process may still take over."""
        return self.local.spare_bytes if self.local else 0

    def take_over(self, name: str, ranges: Sequence[ExpertRange]) -> None:
        """Have a member start to load more experts. Raises ClusterError that names it."""
        if name == LOCAL and self.local:
            self.local.take_over(ranges)
        else:
            self.prober.take_over(parse_address(name), ranges)

    def give_back(self, name: str, ranges: Sequence[ExpertRange]) -> None:
        """Have a member drop experts that it took over. Raises ClusterError that names it."""
        if name == LOCAL and self.local:
            self.local.give_back(ranges)
        else:
            self.prober.give_back(parse_address(name), ranges)

    def stop(self) -> None:
        """Stop loading here."""
        if self.local:
            self.local.stop()
