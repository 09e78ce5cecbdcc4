"""The pauses of running processes: how often they look, and how long they wait before they act.

Limits of answers are options, not pauses. The environment variable JANGTQ_TIME_SCALE multiplies all pauses,
so that tests of whole clusters need not wait as long as production does.
"""

import os
from dataclasses import dataclass, fields
from typing import Final

SCALE_VARIABLE: Final = "JANGTQ_TIME_SCALE"


@dataclass(frozen=True)
class Timings:
    """Seconds.

    probe: between two probes of a worker that serves.
    first_lost_probe, longest_lost_probe: between two probes of a lost worker, at first and at most.
    leave_quiet: a worker that leaves stops once its streams were quiet for this long, which is longer than
        `probe`, so that every coordinator knows by then.
    leave_most: a worker that leaves stops after this long in any case.
    overloaded: no prompt is started for this long after a worker refused a call.
    rebalance_check: between two looks for experts without a worker.
    give_back_again: before a worker that did not give experts back is asked again.
    certificate_check: between two looks at certificates and at the peers that showed them.
    pass_retry: before a pass that the cluster failed is tried again.
    loading_check: between two questions whether a worker has loaded.
    coverage_check: between two looks whether every expert has a worker, while a request waits for that.
    signal_check: between two looks of a waiting main thread for a signal that did not interrupt its wait.
    express_retry: before an express connection that failed is tried again; gRPC serves meanwhile.
    """

    probe: float = 1.0
    first_lost_probe: float = 0.2
    longest_lost_probe: float = 10.0
    leave_quiet: float = 2.5
    leave_most: float = 10.0
    overloaded: float = 1.0
    rebalance_check: float = 0.25
    give_back_again: float = 10.0
    certificate_check: float = 1.0
    pass_retry: float = 0.2
    loading_check: float = 0.2
    coverage_check: float = 0.05
    signal_check: float = 0.5
    express_retry: float = 5.0

    def scaled(self, factor: float) -> "Timings":
        return Timings(**{each.name: getattr(self, each.name) * factor for each in fields(self)})


TIMINGS: Final = Timings().scaled(float(os.environ.get(SCALE_VARIABLE, "1")))
