"""Keeps measured tables in benchmarks/RESULTS.md, each with its machine and date."""

import argparse
import datetime
import os
import platform
import re
from functools import cache
from pathlib import Path

_FILE = Path(__file__).parent / "RESULTS.md"
_HEADING = "# Results\n\nEvery section is written by the benchmark it names, with `--write`.\n"


def benchmark_options(description: str | None) -> argparse.ArgumentParser:
    """The options of a benchmark: --write, and whatever its own are."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--write", action="store_true", help="replace the section in benchmarks/RESULTS.md")
    return parser


@cache
def cores() -> int:
    """How many this process may use when first asked, which may be fewer than the machine has."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except OSError:
        return allowed
    return allowed if quota == "max" else min(allowed, max(1, int(quota) // int(period)))


def publish(title: str, command: str, body: str, *, write: bool) -> None:
    """Print a section's body, and keep it where asked."""
    print(body)
    if write:
        write_section(title, f"{command} --write", body)


def write_section(title: str, command: str, body: str) -> None:
    """Replace the section with this title, or add it at the end. `command` is what was run."""
    text = _FILE.read_text() if _FILE.exists() else _HEADING
    today = datetime.date.today().isoformat()
    section = f"## {title}\n\n`{command}`, {machine()}, {today}\n\n{body.strip()}\n"
    old = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    if old.search(text):
        text = old.sub(lambda _: section + "\n", text, count=1)
    else:
        text = f"{text.rstrip()}\n\n{section}"
    _FILE.write_text(text.rstrip() + "\n")


def machine() -> str:
    """Processor, core count and system, in words."""
    import psutil

    memory = psutil.virtual_memory().total / 2**30
    return f"{_processor()}, {cores()} cores, {memory:.0f} GiB, {platform.system()}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        match = re.search(r"^model name\s*: (.*)$", info.read_text(), re.MULTILINE)
        if match:
            return match[1]
    return platform.processor() or platform.machine()
