"""What kept prompts and guessing ahead bring, on the demo model with all experts in this process.

Run as `python -m benchmarks.engine [--write]`. The second turn of a conversation is asked with and without
kept prompts, in turns; text that repeats itself is continued with each setting of `--speculation`.
"""

import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import jangtq_bundle
from benchmarks.results import benchmark_options, publish
from jangtq_bundle.bundle import Bundle
from jangtq_coordinator.assembly.connect import connect
from jangtq_coordinator.assembly.loader import loader, row_type_of
from jangtq_coordinator.config import ClusterSettings
from jangtq_coordinator.engine.engine import Engine
from jangtq_coordinator.engine.engine_config import EngineSettings, Speculation
from jangtq_coordinator.engine.events import Failed, TokenGenerated
from jangtq_coordinator.engine.loaded_model import LoadedModel
from jangtq_coordinator.engine.request import GenerationRequest
from jangtq_coordinator.kv.kv_config import KvSettings
from jangtq_coordinator.sampling.parameters import SamplingParameters
from jangtq_proto.ranges import ExpertRange

MODEL = Path(jangtq_bundle.__file__).parent / "models" / "jangtq-demo"
HISTORY_TOKENS = 4000
NEW_TOKENS = 20
ANSWER_TOKENS = 200
REPEATING = "one two three four five six seven eight nine ten. " * 4
GREEDY = SamplingParameters(temperature=0)


@contextmanager
def running_engine(settings: EngineSettings) -> Iterator[Engine]:
    """The demo model in this process; its context is taken for long enough, since only time is measured."""
    bundle = Bundle.open(MODEL)
    cluster_settings = ClusterSettings(MODEL, local_ranges=(ExpertRange(0, 255),), threads=1)
    cluster = connect(bundle, cluster_settings, row_type=row_type_of(cluster_settings))
    load = loader(bundle, cluster, cluster_settings)

    def load_longer() -> LoadedModel:
        return replace(load(), context_length=4 * HISTORY_TOKENS)

    engine = Engine(load_longer, settings=settings)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop(grace_seconds=0)
        cluster.close()


@dataclass(frozen=True)
class Answer:
    """Its tokens, and when the first and the last of them came, in seconds."""

    tokens: tuple[int, ...]
    first: float
    last: float


async def ask(engine: Engine, prompt: tuple[int, ...], *, max_tokens: int) -> Answer:
    """One answer, or the error that it ended with."""
    started = time.perf_counter()
    tokens, stamps = [], []
    async for event in engine.submit(GenerationRequest(prompt, GREEDY, max_tokens)):
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, TokenGenerated):
            tokens.append(event.token)
            stamps.append(time.perf_counter() - started)
    return Answer(tuple(tokens), stamps[0], stamps[-1])


def conversation(turn: int) -> tuple[int, ...]:
    """A history that no other turn begins like."""
    return tuple((turn + 31 * i + i * i // 11) % 1000 for i in range(HISTORY_TOKENS))


def second_turns(turns: int) -> tuple[list[float], list[float]]:
    """Seconds to the first token of second turns, without and with kept prompts."""
    times: tuple[list[float], list[float]] = ([], [])
    with (
        running_engine(EngineSettings(kv=KvSettings(keep_prompts=False))) as without,
        running_engine(EngineSettings()) as kept,
    ):
        for turn in range(turns):
            history = conversation(turn)
            asyncio.run(ask(kept, history, max_tokens=1))
            second = (*history, *range(turn, turn + NEW_TOKENS))
            for engine, found in zip((without, kept), times, strict=True):
                found.append(asyncio.run(ask(engine, second, max_tokens=1)).first)
    return times


def decode_rates(turns: int) -> dict[Speculation, tuple[float, float]]:
    """By setting: the median of tokens a second after the first one, and tokens a pass."""
    with ExitStack() as stack:
        engines = {
            mode: stack.enter_context(running_engine(EngineSettings(speculation=mode)))
            for mode in Speculation
        }
        prompt = tuple(engines[Speculation.OFF].loaded.tokenizer.encode(REPEATING))
        answers: dict[Speculation, list[Answer]] = {mode: [] for mode in Speculation}
        for _ in range(turns):
            for mode, engine in engines.items():
                answers[mode].append(asyncio.run(ask(engine, prompt, max_tokens=ANSWER_TOKENS)))
        assert len({answer.tokens for given in answers.values() for answer in given}) == 1
        return {
            mode: (
                statistics.median((len(a.tokens) - 1) / (a.last - a.first) for a in answers[mode]),
                engine.counters.decoded_tokens / engine.counters.decode_passes,
            )
            for mode, engine in engines.items()
        }


def report(turns: int) -> str:
    """Both tables."""
    without, kept = (statistics.median(times) for times in second_turns(turns))
    lines = [
        f"First token of a second turn, {HISTORY_TOKENS} tokens before it and {NEW_TOKENS} new "
        f"(medians of {turns}).",
        "",
        "| prompts | first token after | sooner |",
        "|---|---|---|",
        f"| not kept | {without * 1000:.0f} ms | 1 x |",
        f"| kept | {kept * 1000:.0f} ms | {without / kept:.0f} x |",
        "",
        f"{ANSWER_TOKENS} tokens after a text that repeats itself, the same with all settings "
        f"(medians of {turns}).",
        "",
        "| `--speculation` | tokens/s | tokens a pass |",
        "|---|---|---|",
    ]
    for mode, (rate, a_pass) in decode_rates(turns).items():
        lines.append(f"| {mode} | {rate:.0f} | {a_pass:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print, and keep the result with --write."""
    options = benchmark_options(__doc__)
    options.add_argument("--turns", type=int, default=3, metavar="N", help="(default: %(default)s)")
    given = options.parse_args()
    text = report(given.turns)
    publish("Engine", "python -m benchmarks.engine", text, write=given.write)


if __name__ == "__main__":
    main()
