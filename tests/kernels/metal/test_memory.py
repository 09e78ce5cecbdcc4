"""What a Metal process does about memory: wired as far as macOS allows, little cached, one command buffer."""

import os
import subprocess
import sys

import mlx.core as mx
import pytest

from jangtq_kernels.command_buffers import DEFAULTS, suit_layers
from jangtq_kernels.metal.memory import limit_cache, wire_memory


def test_as_much_is_wired_as_macos_allows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wired: list[int] = []
    monkeypatch.setattr(mx, "device_info", lambda: {"max_recommended_working_set_size": 48 * 2**30})
    monkeypatch.setattr(mx, "set_wired_limit", wired.append)
    caplog.set_level("INFO")
    assert wire_memory().wired == 48 * 2**30
    assert wired == [48 * 2**30]
    assert "up to 48.0 GiB of GPU memory are wired, of 48.0 GiB that macOS allows" in caplog.text


VARIABLE = "MLX_MAX_MB_PER_BUFFER"


def test_a_worker_keeps_few_unused_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []
    monkeypatch.setattr(mx, "set_cache_limit", limits.append)
    limit_cache()
    assert limits == [2**30]


def test_a_limit_that_the_user_chose_stays() -> None:
    chosen, empty = {VARIABLE: "100"}, dict[str, str]()
    suit_layers(chosen)
    suit_layers(empty)
    assert empty == DEFAULTS and chosen == {**DEFAULTS, VARIABLE: "100"}


def test_the_coordinator_lifts_the_limit_before_mlx_is_imported() -> None:
    script = (
        "import sys, os\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == 'mlx.core': print('mlx with', os.environ.get('{VARIABLE}'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import jangtq_coordinator.model.routed_experts\n"
    )
    clean = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=clean, check=True
    )
    assert done.stdout.split("\n")[0] == f"mlx with {DEFAULTS[VARIABLE]}"
