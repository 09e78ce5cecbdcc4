"""Options that worker and coordinator have in common, so that they read alike."""

from typing import Final

from jangtq_proto.options import MICROSECONDS, Group, Option

MODEL_VARIABLE: Final = "JANGTQ_MODEL"
MODEL: Final = Option(
    "--model",
    group=Group.MODEL,
    placeholder="DIR",
    variable=MODEL_VARIABLE,
    otherwise=f"the environment variable {MODEL_VARIABLE}",
    help="the JANGTQ bundle on this machine, or `demo`: the small one that comes with the package",
)
DEVICE: Final = Option(
    "--device",
    group=Group.MODEL,
    choices=("auto", "metal", "cuda", "cpu", "reference"),
    help="what computes experts; auto takes metal or cuda, else cpu, else the slow reference",
)
THREADS: Final = Option(
    "--threads",
    group=Group.TUNING,
    least=1,
    most=1024,
    otherwise="all cores; on Apple silicon all performance cores",
    help="threads of the cpu device",
)
POLL_US: Final = Option(
    "--poll-us",
    group=Group.TUNING,
    least=0,
    most=100_000,
    unit=MICROSECONDS,
    help="look for the next message of the express transport for so long before sleeping; faster where each "
    "process has a core to itself, slower elsewhere; for workers and coordinator alike",
)
TLS: Final = Option(
    "--tls",
    group=Group.CLUSTER,
    placeholder="DIR",
    help="encrypt calls, and show and demand certificates: ca.pem, cert.pem and key.pem in DIR, one of the "
    "folders that `jangtq-coord certs` makes, of which each is for one program",
)
STOP_ON_STDIN_CLOSE: Final = Option("--stop-on-stdin-close", help="end when standard input is closed")
