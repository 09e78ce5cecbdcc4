"""A process that stopped its engine ends cleanly, and a stopped engine is let go."""

import gc
import subprocess
import sys
import weakref

from jangtq_coordinator.engine.engine import Engine
from jangtq_coordinator.engine.engine_config import EngineSettings
from tests.support.paths import ROOT
from tests.support.tiny_model import loader

_PROGRAM = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from tests.support.tiny_model import loader
from jangtq_coordinator.engine.engine import Engine
from jangtq_coordinator.engine.engine_config import EngineSettings
from jangtq_coordinator.engine.request import GenerationRequest

async def ask(engine):
    return [event async for event in engine.submit(GenerationRequest((1, 2, 3), max_tokens=3))]

engine = Engine(loader(), settings=EngineSettings())
engine.start()
assert len(asyncio.run(ask(engine))) == 5
engine.stop()
"""


def test_a_process_ends_with_status_0_right_after_stop() -> None:
    command = [sys.executable, "-c", _PROGRAM, str(ROOT)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_stopped_engine_is_let_go() -> None:
    engine = Engine(loader(), settings=EngineSettings())
    engine.start()
    engine.stop()
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    assert gone() is None
