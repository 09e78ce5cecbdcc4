"""Random faults, one after the other, under streams that may neither fail nor change."""

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from jangtq_bundle.metadata import WriteOptions
from jangtq_bundle.writing.writer import write_bundle
from jangtq_coordinator.cli.demo.processes import Children
from tests.support.chaos import Chaos, Worker
from tests.support.cluster_processes import start_coordinator
from tests.support.harmful_relay import Harm
from tests.support.small_bundles import dense_model
from tests.support.small_checkpoints import Sizes
from tests.support.streamed_load import Load, Question

STREAMS = 12
RANGES = ("0-19", "12-31", "0-11,20-31")
"""Any one of these workers can be missed."""
LAYERS = Sizes(32, hidden_size=64, intermediate_size=32, layer_count=3, head_count=2, key_value_head_count=1)
QUESTIONS = [Question(f"{word}?", 24 + 7 * i, seed=i if i % 2 else None) for i, word in enumerate("abcdefgh")]


@dataclass
class Faults:
    """What was done and how it ended; `changed` are the questions whose answers were not always the same."""

    done: Counter[str] = field(default_factory=Counter)
    answers: int = 0
    failures: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    minutes: float = 0.0
    unfinished: str = ""

    @property
    def is_clean(self) -> bool:
        return not (self.failures or self.changed or self.unfinished)

    def text(self) -> str:
        """One paragraph."""
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(self.done.items()))
        verdict = "Nothing failed, nothing changed." if self.is_clean else "NOT CLEAN."
        return (
            f"{self.done.total()} faults ({kinds}) of {len(RANGES)} workers in {self.minutes:.0f} minutes "
            f"under {STREAMS} streams: {self.answers} answers, {len(self.failures)} failures, "
            f"{len(self.changed)} answers that changed. {verdict}{self.unfinished}"
        )


def run_faults(count: int, *, seed: int, transport: str = "grpc") -> Faults:
    """So many faults, in an order and of workers that the seed gives."""
    with _chaos(transport) as chaos:
        return asyncio.run(_disturb(chaos, count, random.Random(seed)))


@contextmanager
def _chaos(transport: str) -> Iterator[Chaos]:
    with tempfile.TemporaryDirectory() as folder, Children() as children:
        bundle = Path(folder) / "bundle"
        write_bundle(bundle, dense_model(LAYERS), WriteOptions("layered"))
        workers = [Worker(children, bundle, experts) for experts in RANGES]
        for worker in workers:
            worker.child.ready()
        options = ["--transport", transport, "--no-unix-sockets", "--batch-size", str(STREAMS)]
        coordinator = start_coordinator(children, bundle, [w.reached_at for w in workers], options=options)
        try:
            coordinator.ready()
            yield Chaos(coordinator.listening(), workers)
        finally:
            for worker in workers:
                worker.close()


async def _disturb(chaos: Chaos, count: int, chance: random.Random) -> Faults:
    faults, began = Faults(), time.monotonic()
    expected, load = Load(chaos.url), Load(chaos.url)
    await expected.ask_each_once(QUESTIONS)
    asking = asyncio.create_task(load.ask_until_over(QUESTIONS, STREAMS))
    kinds: dict[str, Callable[[Worker], None]] = {
        "kill": chaos.kill,
        "freeze": chaos.freeze,
        "stop": chaos.terminate,
        "cut": chaos.harm(Harm.CUT),
        "damage": chaos.harm(Harm.DAMAGE),
    }
    told = 0
    try:
        for _ in range(count):
            name = chance.choice(sorted(kinds))
            await asyncio.to_thread(kinds[name], chance.choice(chaos.workers))
            await asyncio.to_thread(chaos.wait_until_whole)
            faults.done[name] += 1
            faults.minutes = (time.monotonic() - began) / 60
            if faults.done.total() % 25 == 0:
                print(f"{faults.done.total()} faults, {len(load.failures)} failures", flush=True)
            for failure in load.failures[told:]:
                print(f"after {name} number {faults.done.total()}: {failure}", flush=True)
            told = len(load.failures)
    except (AssertionError, OSError) as error:
        faults.unfinished = f" Ended early: {error}"
    load.end()
    await asking
    faults.failures = expected.failures + load.failures
    faults.answers = sum(map(len, load.answers.values()))
    faults.changed = [
        question.text
        for question, given in load.answers.items()
        if set(given) != set(expected.answers[question])
    ]
    return faults
