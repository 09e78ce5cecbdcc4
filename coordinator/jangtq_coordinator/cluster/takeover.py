"""How those who are left are told to take over experts, or to give them back: workers, and this process."""

from collections.abc import Sequence
from dataclasses import dataclass

from jangtq_coordinator.transport.control_client import ControlClient
from jangtq_coordinator.transport.local_experts import LocalExperts
from jangtq_coordinator.transport.worker_info import LOCAL
from jangtq_proto.addresses import parse_address
from jangtq_proto.ranges import ExpertRange


@dataclass(frozen=True)
class Takeover:
    """Members by name. May be used by any thread."""

    prober: ControlClient
    local: LocalExperts | None = None

    @property
    def own_spare_bytes(self) -> int:
        """Bytes of experts that may still be taken over here."""
        return self.local.spare_bytes if self.local else 0

    def take_over(self, name: str, ranges: Sequence[ExpertRange]) -> None:
        """Have a member begin to load more experts. Raises ClusterError that says who."""
        if name == LOCAL and self.local:
            self.local.take_over(ranges)
        else:
            self.prober.take_over(parse_address(name), ranges)

    def give_back(self, name: str, ranges: Sequence[ExpertRange]) -> None:
        """Have a member let go of experts that it took over. Raises ClusterError that says who."""
        if name == LOCAL and self.local:
            self.local.give_back(ranges)
        else:
            self.prober.give_back(parse_address(name), ranges)

    def stop(self) -> None:
        """Take over nothing more here."""
        if self.local:
            self.local.stop()
