"""What stands in the way here and at each worker, with what mends it. Looks, and changes nothing."""

import resource
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography import x509

from jangtq_coordinator.diagnosis.machine import Machine
from jangtq_coordinator.transport.worker_info import WorkerInfo
from jangtq_kernels.cpu_library import native_library
from jangtq_kernels.errors import BackendMissingError, StaleLibraryError
from jangtq_proto.ranges import expert_ids, format_ranges, ranges_of
from jangtq_proto.wire.codec import PROTOCOL_VERSION

_LEAST_OPEN_FILES: Final = 1024
_LEAST_DAYS: Final = 14
_REINSTALL: Final = "pip install --force-reinstall --no-binary jangtq-cluster jangtq-cluster"


class Level(StrEnum):
    """How much a finding matters."""

    GOOD = "good"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """`mend` is what to type or do; empty where all is well."""

    level: Level
    where: str
    what: str
    mend: str = ""


@dataclass(frozen=True)
class AskedWorker:
    """What a worker said of itself, or why it said nothing."""

    name: str
    info: WorkerInfo | None = None
    error: str = ""


def look_here(machine: Machine) -> list[Finding]:
    """Of this machine."""
    return [_native_code(), _open_files(), *_wired_memory(machine)]


def look_at_certificates(folder: Path, now: datetime) -> list[Finding]:
    """Of the certificates in a folder of `jangtq-coord certs`."""
    found = []
    for path in sorted(folder.glob("*.pem")):
        data = path.read_bytes()
        if b"BEGIN CERTIFICATE" not in data:
            continue
        days = (x509.load_pem_x509_certificate(data).not_valid_after_utc - now).days
        what = f"{path.name} is good for {days} days" if days >= 0 else f"{path.name} is not valid any more"
        level = Level.GOOD if days >= _LEAST_DAYS else Level.WARNING if days >= 0 else Level.ERROR
        renew = f"jangtq-coord certs {folder.parent} --renew, and copy the folders again"
        mend = "" if level is Level.GOOD else renew
        found.append(Finding(level, "certificates", what, mend))
    return found or [
        Finding(Level.ERROR, "certificates", f"{folder} has none", f"jangtq-coord certs {folder.parent}")
    ]


def look_at_workers(asked: Sequence[AskedWorker]) -> list[Finding]:
    """Of each worker, and of all together."""
    found = [_look_at(worker) for worker in asked]
    infos = [worker.info for worker in asked if worker.info is not None]
    bundles = Counter(info.fingerprint for info in infos)
    if len(bundles) > 1:
        usual, _ = bundles.most_common(1)[0]
        others = [info.name for info in infos if info.fingerprint != usual]
        found.append(
            Finding(
                Level.ERROR,
                "bundle",
                f"{', '.join(others)} holds another bundle than the others",
                "start every worker on the same bundle; `jangtq-bundle info DIR` prints its fingerprint",
            )
        )
    return [*found, *_coverage(infos)]


def utc_now() -> datetime:
    """The time that certificates are compared with."""
    return datetime.now(UTC)


def _look_at(worker: AskedWorker) -> Finding:
    info = worker.info
    if info is None:
        mend = f"start `jangtq-worker` there; from here, try: nc -vz {worker.name.replace(':', ' ')}"
        return Finding(Level.ERROR, worker.name, worker.error, mend)
    if info.protocol_version != PROTOCOL_VERSION:
        what = f"speaks protocol {info.protocol_version}, this coordinator {PROTOCOL_VERSION}"
        return Finding(Level.ERROR, worker.name, what, "install the same version of jangtq-cluster on both")
    what = f"experts {format_ranges(info.ranges)} on {info.device}, {info.weight_bytes / 2**30:.2f} GiB"
    return Finding(Level.GOOD, worker.name, what)


def _coverage(infos: Sequence[WorkerInfo]) -> list[Finding]:
    held = {expert for info in infos for expert in expert_ids(info.ranges)}
    missing = [expert for expert in range(max(held, default=-1)) if expert not in held]
    if not missing:
        return []
    ranges = format_ranges(ranges_of(missing))
    return [
        Finding(
            Level.ERROR,
            "coverage",
            f"no worker holds experts {ranges}",
            f"start `jangtq-worker --experts {ranges}`",
        )
    ]


def _native_code() -> Finding:
    where = "native code"
    try:
        library = native_library()
    except BackendMissingError as error:
        return Finding(Level.WARNING, where, str(error), _REINSTALL)
    except StaleLibraryError as error:
        return Finding(Level.ERROR, where, str(error), _REINSTALL)
    return Finding(Level.GOOD, where, f"compiled; this processor has {', '.join(library.isas)}")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= _LEAST_OPEN_FILES or soft == resource.RLIM_INFINITY:
        return Finding(Level.GOOD, "open files", f"{soft} are allowed")
    what = f"only {soft} are allowed"
    if hard == resource.RLIM_INFINITY or hard >= _LEAST_OPEN_FILES:
        return Finding(Level.GOOD, "open files", f"{what}; commands raise that themselves")
    return Finding(Level.WARNING, "open files", what, f"ulimit -n {_LEAST_OPEN_FILES}, as root")


def _wired_memory(machine: Machine) -> list[Finding]:
    """Of macOS, which lets the GPU use about three quarters of the memory unless told otherwise."""
    if sys.platform != "darwin":
        return []
    wanted = max(machine.memory_bytes - 8 * 2**30, 0)
    may = machine.wired_limit_bytes or machine.recommended_bytes
    what = f"the GPU may use {may / 2**30:.0f} of {machine.memory_bytes / 2**30:.0f} GiB"
    if may >= wanted:
        return [Finding(Level.GOOD, "wired memory", what)]
    mend = f"sudo sysctl iogpu.wired_limit_mb={wanted // 2**20} (until the next start)"
    return [Finding(Level.WARNING, "wired memory", what, mend)]
