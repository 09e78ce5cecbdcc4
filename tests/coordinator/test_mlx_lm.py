"""mlx-lm by its door: the limit of open files stays, and PyTorch is not loaded even where it is installed."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import resource
before = resource.getrlimit(resource.RLIMIT_NOFILE)
import jangtq_coordinator.mlx_lm
assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
try:
    import torch
except RuntimeError as error:
    print(error)
"""


def test_neither_the_limit_of_open_files_nor_pytorch_is_touched(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text('raise RuntimeError("loaded by the test alone")\n')
    installed = tmp_path / "torch-2.13.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "loaded by the test alone"), done.stderr
