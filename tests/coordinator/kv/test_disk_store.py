"""Kept prompts on disk: they survive a restart and a crash, and no broken file ever becomes an answer."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlx.core as mx
import pytest

from jangtq_coordinator.kv.budget import KvShape
from jangtq_coordinator.kv.kv_config import KvSettings
from jangtq_coordinator.kv.prefix_cache import PrefixCache, open_prompt_cache
from jangtq_coordinator.kv.storage import KvStorage, plan_kv
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.wire.row_type import RowType
from tests.coordinator.kv.test_prefix_cache import LONG, kv_of, read
from tests.support.paths import ROOT
from tests.support.small_generators import GREEDY, new_generator, run_to_end
from tests.support.tiny_model import KV_SHAPE, ProbedModel

PLAN = plan_kv(KV_SHAPE, budget_bytes=2**30)
TOKEN_BYTES = KV_SHAPE.token_bytes()


def open_cache(
    directory: Path, *, plan: KvStorage = PLAN, fingerprint: str = "model", limit: int = 2**30
) -> PrefixCache:
    settings = KvSettings(disk_directory=directory, disk_bytes=limit)
    return open_prompt_cache(plan, settings, fingerprint=fingerprint)


def keep(cache: PrefixCache, tokens: list[int]) -> None:
    cache.store(tokens, kv_of(tokens), row=0, room_bytes=2**30)


def files_in(directory: Path) -> list[Path]:
    return sorted(directory.glob("*/*.safetensors"))


def test_a_restart_finds_what_was_kept(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    keep(cache, LONG)
    keep(cache, [*LONG[:256], 9, 9])
    cache.close()
    assert len(files_in(tmp_path)) == 4 and not list(tmp_path.glob("*/*.part"))
    again = open_cache(tmp_path)
    assert again.nbytes == 0
    prefix = again.find([*LONG[:600], 1])
    assert prefix.length == 600
    assert read(again.restore(prefix, spare_bytes=2**30), 1) == [t + 1000 for t in LONG[:600]]
    assert again.find([*LONG[:256], 9, 9, 9]).length == 258
    again.close()


def test_what_leaves_memory_is_read_back(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    keep(cache, LONG)
    wait_for_files(tmp_path, 3)
    cache.shrink(0)
    assert cache.nbytes == 0
    assert read(cache.restore(cache.find(LONG), spare_bytes=2**30), 0) == LONG[:-1]
    assert cache.nbytes == 700 * TOKEN_BYTES
    cache.close()


def wait_for_files(directory: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while len(files_in(directory)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # The name appears a moment before the writer says so.
    time.sleep(0.1)


@pytest.mark.parametrize("change", ["truncated", "empty", "header", "swapped", "flipped", "torn", "gone"])
def test_a_broken_file_is_a_shorter_prefix(
    tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = open_cache(tmp_path)
    keep(cache, LONG)
    wait_for_files(tmp_path, 3)
    cache.shrink(0)
    files = {path.stat().st_mtime_ns: path for path in files_in(tmp_path)}
    first, second, _ = (files[stamp] for stamp in sorted(files))
    content = second.read_bytes()
    if change == "truncated":
        second.write_bytes(content[:-100])
    elif change == "empty":
        second.write_bytes(b"")
    elif change == "header":
        second.write_bytes(content.replace(b'"tokens"', b'"takens"'))
    elif change == "swapped":
        second.write_bytes(content[: len(content) // 2] + first.read_bytes())
    elif change == "flipped":
        second.write_bytes(content[:-50] + bytes([content[-50] ^ 1]) + content[-49:])
    elif change == "torn":
        second.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    else:
        second.unlink()
    assert cache.find(LONG).length == 256 and not second.exists()
    assert cache.find(LONG).length == 256
    assert [str(second) in record.getMessage() for record in caplog.records] == [True]
    cache.close()
    again = open_cache(tmp_path)
    assert again.find(LONG).length == 256
    again.close()
    assert len(files_in(tmp_path)) == 1


def test_other_models_and_forms_find_nothing(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    keep(cache, LONG)
    cache.close()
    half = plan_kv(KvShape(2, 2, 16, RowType.FLOAT16), budget_bytes=2**30)
    for plan, fingerprint in ((PLAN, "other"), (half, "model")):
        other = open_cache(tmp_path, plan=plan, fingerprint=fingerprint)
        assert other.find(LONG).length == 0
        other.close()
    again = open_cache(tmp_path)
    assert again.find(LONG).length == 699
    again.close()


def test_the_disk_is_bounded_and_keeps_what_was_used_last(tmp_path: Path) -> None:
    one = 100 * TOKEN_BYTES
    cache = open_cache(tmp_path, limit=int(3.5 * one))
    for n in range(3):
        keep(cache, [n] * 100)
        wait_for_files(tmp_path, n + 1)
    cache.find([0] * 100)
    for n in (3, 4):
        keep(cache, [n] * 100)
        wait_for_files(tmp_path, 3)
    cache.close()
    again = open_cache(tmp_path, limit=int(3.5 * one))
    found = [n for n in range(5) if again.find([n] * 100).length]
    again.close()
    assert found in ([0, 3, 4], [0, 2, 3, 4]) and sum(p.stat().st_size for p in files_in(tmp_path)) < 5 * one


def test_files_of_other_models_are_limited_too(tmp_path: Path) -> None:
    for n in range(4):
        cache = open_cache(tmp_path, fingerprint=f"model {n}")
        keep(cache, [n] * 100)
        cache.close()
        for path in files_in(tmp_path):
            os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 10**9))
    limit = 5 * 100 * TOKEN_BYTES
    open_cache(tmp_path, fingerprint="new", limit=limit).close()
    assert len(files_in(tmp_path)) == 2
    cache = open_cache(tmp_path, fingerprint="model 3", limit=limit)
    assert cache.find([3] * 100).length == 99
    cache.close()


def test_quantized_kv_comes_back_as_it_was(tmp_path: Path) -> None:
    plan = plan_kv(KvShape(2, 2, 32, RowType.BFLOAT16), budget_bytes=2**30, bits=4)
    kv = plan.new_kv()
    values = mx.random.normal((1, 2, 40, 32)).astype(mx.bfloat16)
    exact = [layer.update_and_fetch(values, -values) for layer in kv.layers]
    cache = open_cache(tmp_path, plan=plan)
    cache.store(list(range(40)), kv, row=0, room_bytes=2**30)
    cache.close()
    again = open_cache(tmp_path, plan=plan)
    back = again.restore(again.find([*range(40), 1]), spare_bytes=2**30)
    again.close()
    for layer, (keys, _) in zip(back.layers, exact, strict=True):
        new = mx.zeros((1, 2, 1, 32), dtype=mx.bfloat16)
        fetched, _ = layer.update_and_fetch(new, new)
        for part, old in zip(fetched, keys, strict=True):
            assert part.dtype == old.dtype and mx.array_equal(part[:, :, :40], old)


_PROGRAM = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tests.coordinator.kv.test_disk_store import keep, open_cache, wait_for_files
from tests.coordinator.kv.test_prefix_cache import LONG
directory = Path(sys.argv[2])
cache = open_cache(directory)
keep(cache, LONG)
wait_for_files(directory, 1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_crash_leaves_whole_files_only(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PROGRAM, str(ROOT), str(tmp_path)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    cache = open_cache(tmp_path)
    prefix = cache.find(LONG)
    assert prefix.length in (256, 512, 699)
    assert read(cache.restore(prefix, spare_bytes=2**30), 0) == LONG[: prefix.length]
    cache.close()
    assert not list(tmp_path.glob("*/*.part"))


def test_answers_after_a_restart_are_the_same(tmp_path: Path) -> None:
    answers = []
    for cached in (0, len(LONG) - 1):
        cache = open_cache(tmp_path)
        generator = new_generator(ProbedModel(), plan=PLAN, kept=cache)
        generator.add(LONG, max_tokens=8, sampler=GREEDY)
        answers += [[step.token for step in steps] for steps in run_to_end(generator).values()]
        assert generator.counters.cached_tokens == cached
        generator.close()
    assert answers[0] == answers[1]


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="--prompt-cache-dir .*file cannot be used: .+"):
        open_cache(tmp_path / "file")


def test_a_directory_is_for_one_cache_at_a_time(tmp_path: Path) -> None:
    first = open_cache(tmp_path)
    keep(first, LONG)
    with pytest.raises(ConfigurationError, match=f"--prompt-cache-dir {tmp_path} .*process {os.getpid()} "):
        open_cache(tmp_path, fingerprint="another model")
    first.close()
    assert len(files_in(tmp_path)) == 3
    open_cache(tmp_path).close()
