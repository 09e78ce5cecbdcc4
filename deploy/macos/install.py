#!/usr/bin/env python3
"""Installs the worker or the coordinator as a launchd daemon of this Mac, and removes it again.

    python3 deploy/macos/install.py worker -- --experts 96-255 --listen 10.0.0.2:7700 --tls ~/jangtq-tls
    python3 deploy/macos/install.py coordinator -- --workers 10.0.0.2:7700 --tls ~/jangtq-certs/coordinator
    python3 deploy/macos/install.py remove worker

What stands after `--` is the program's own command line. A daemon starts with the Mac, before anybody logs
in, and is free of Local Network privacy, which agents are not. Needs nothing but Python 3.9 without packages.
On other systems, and with --dry-run, it prints what it would do.
"""

import argparse
import getpass
import os
import plistlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
DAEMONS = Path("/Library/LaunchDaemons")
PROGRAMS = {"worker": ("jangtq-worker",), "coordinator": ("jangtq-coord", "serve")}
FOLDER_OPTIONS = ("--model", "--tls")


def label_of(role: str) -> str:
    """launchd's name of it."""
    return f"io.jangtq.{role}"


def fill_in(role: str, arguments: Sequence[str], *, user: str, home: Path, program: str) -> dict[str, object]:
    """The plist of this folder with a user, the program's place and its command line."""
    filled: dict[str, object] = plistlib.loads((FOLDER / f"{label_of(role)}.plist").read_bytes())
    expanded = [str(home) + given[1:] if given.startswith("~/") else given for given in arguments]
    filled["ProgramArguments"] = [program, *PROGRAMS[role][1:], *expanded]
    filled["UserName"] = user
    for output in ("StandardOutPath", "StandardErrorPath"):
        filled[output] = str(home / f"Library/Logs/jangtq-{role}.log")
    return filled


def problems_of(plist: dict[str, object]) -> list[str]:
    """What would keep it from starting: a program or a folder that is not there."""
    program, *arguments = plist["ProgramArguments"]  # type: ignore[misc]
    found = []
    if not Path(program).is_file():
        found.append(f"{program} is not installed: see deploy/README.md, 2")
    for index, option in enumerate(arguments[:-1]):
        if option in FOLDER_OPTIONS and not Path(arguments[index + 1]).is_dir():
            found.append(f"{option} {arguments[index + 1]}: there is no such folder")
    return found


def commands_to_load(role: str, draft: Path) -> list[list[str]]:
    """Check the file, put it where launchd looks, and start it; anew where it runs already."""
    target = str(DAEMONS / f"{label_of(role)}.plist")
    return [
        ["plutil", "-lint", str(draft)],
        ["sudo", "launchctl", "bootout", f"system/{label_of(role)}"],
        ["sudo", "install", "-m", "644", "-o", "root", "-g", "wheel", str(draft), target],
        ["sudo", "launchctl", "bootstrap", "system", target],
    ]


def commands_to_remove(role: str) -> list[list[str]]:
    """Stop it and forget it; its log stays."""
    return [
        ["sudo", "launchctl", "bootout", f"system/{label_of(role)}"],
        ["sudo", "rm", "-f", str(DAEMONS / f"{label_of(role)}.plist")],
    ]


def run(commands: Sequence[Sequence[str]], *, dry_run: bool) -> int:
    """Show each command and run it; `bootout` may fail, since nothing may be loaded yet."""
    for command in commands:
        print(f"  {shlex.join(command)}", flush=True)
        if not dry_run and subprocess.run(command).returncode != 0 and "bootout" not in command:
            print(f"failed: {shlex.join(command)}", file=sys.stderr)
            return 1
    return 0


def install(role: str, arguments: Sequence[str], *, dry_run: bool) -> int:
    """Returns the exit status."""
    home = Path.home()
    program = shutil.which(PROGRAMS[role][0]) or str(home / ".local/bin" / PROGRAMS[role][0])
    plist = fill_in(role, arguments, user=getpass.getuser(), home=home, program=program)
    problems = problems_of(plist)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems and not dry_run:
        return 1
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / f"{label_of(role)}.plist"
        draft.write_bytes(plistlib.dumps(plist))
        if dry_run:
            print(draft.read_text())
        return run(commands_to_load(role, draft), dry_run=dry_run)


def main(given: Sequence[str]) -> int:
    """Read the command line and do it."""
    own = list(given[: given.index("--")] if "--" in given else given)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=[*PROGRAMS, "remove"])
    parser.add_argument("role", nargs="?", choices=[*PROGRAMS], help="what to remove")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done")
    options = parser.parse_args(own)
    dry_run = options.dry_run or sys.platform != "darwin"
    if dry_run:
        print("would run:" if options.action == "remove" else "would write and run:")
    if options.action == "remove":
        if options.role is None:
            parser.error("remove: say which, worker or coordinator")
        return run(commands_to_remove(options.role), dry_run=dry_run)
    if os.geteuid() == 0 and not dry_run:
        parser.error("run it as the user whom it shall run as; it asks for sudo itself")
    return install(options.action, given[len(own) + 1 :], dry_run=dry_run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
