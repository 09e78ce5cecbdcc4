"""`--help` loads no array library and no gRPC: it must answer at once on any machine."""

import json
import subprocess
import sys

import pytest

from jangtq_coordinator.cli.main import COMMANDS

HEAVY = {"numpy", "mlx", "mlx_lm", "grpc", "ml_dtypes", "httpx", "fastapi", "cryptography", "google"}
PROBE = """
import contextlib, io, json, sys
from {module} import main
with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
    main(sys.argv[1:])
print(json.dumps([out.getvalue(), sorted({{name.split(".")[0] for name in sys.modules}})]))
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("jangtq_coordinator.cli.main", ["--help"]),
        ("jangtq_coordinator.cli.main", ["serve", "--help"]),
        ("jangtq_worker.cli", ["--help"]),
    ],
    ids=["jangtq-coord", "jangtq-coord serve", "jangtq-worker"],
)
def test_help_loads_no_arrays(module: str, arguments: list[str]) -> None:
    command = [sys.executable, "-c", PROBE.format(module=module), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    shown, loaded = json.loads(done.stdout)
    assert "examples:" in shown
    assert HEAVY & set(loaded) == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_description_and_two_examples(command: str) -> None:
    assert COMMANDS[command].description and len(COMMANDS[command].examples) == 2
