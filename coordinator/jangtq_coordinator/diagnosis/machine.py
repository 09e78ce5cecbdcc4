"""What this machine is: chip, memory, what its GPU may wire, and the versions that compute."""

import platform
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import psutil

from jangtq_kernels.apple import performance_cores, read_number, read_text


@dataclass(frozen=True)
class Machine:
    """Bytes are bytes; 0 stands for what this system does not say."""

    chip: str
    system: str
    cores: int
    performance_cores: int
    memory_bytes: int
    wired_limit_bytes: int
    recommended_bytes: int
    device: str
    mlx: str
    jangtq_cluster: str


def look_at_machine() -> Machine:
    """Asks the system and MLX."""
    info = mx.device_info()
    return Machine(
        chip=read_text("machdep.cpu.brand_string") or _linux_chip() or platform.machine(),
        system=f"{platform.system()} {platform.mac_ver()[0] or platform.release()}",
        cores=psutil.cpu_count() or 1,
        performance_cores=performance_cores(),
        memory_bytes=psutil.virtual_memory().total,
        wired_limit_bytes=(read_number("iogpu.wired_limit_mb") or 0) * 2**20,
        recommended_bytes=int(info.get("max_recommended_working_set_size", 0)),
        device=f"{mx.default_device().type.name}: {info.get('device_name', platform.machine())}",
        mlx=version("mlx"),
        jangtq_cluster=version("jangtq-cluster"),
    )


def _linux_chip() -> str | None:
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.*)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return found[1] if found else None
