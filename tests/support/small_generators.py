"""A batch generator over the tiny model, and what tests ask of it."""

from jangtq_coordinator.engine.engine_config import EngineSettings, Speculation
from jangtq_coordinator.engine.scheduler import Scheduler
from jangtq_coordinator.engine.sequence import TokenStep
from jangtq_coordinator.kv.budget import KvShape
from jangtq_coordinator.kv.prefix_cache import PrefixCache
from jangtq_coordinator.kv.storage import KvStorage, plan_kv
from jangtq_coordinator.sampling.parameters import SamplingParameters
from jangtq_coordinator.sampling.sampler import SequenceSampler
from tests.support.tiny_model import KV_SHAPE, ProbedModel

GREEDY = SequenceSampler(SamplingParameters(temperature=0))
PROMPTS = [[(7 * i + j * j) % 256 for j in range(n)] for i, n in enumerate((1, 5, 17, 33, 70))]


def new_generator(
    model: ProbedModel,
    *,
    stop_tokens: frozenset[int] = frozenset(),
    plan: KvStorage | None = None,
    kept: PrefixCache | None = None,
    shape: KvShape = KV_SHAPE,
    **settings: object,
) -> Scheduler:
    """`settings` are fields of EngineSettings. Chunks are not limited in time, and no prompt is kept."""
    plan = plan or plan_kv(shape, budget_bytes=2**30)
    defaults: dict[str, object] = {"batch_size": 8, "prefill_rows": 16, "prefill_ms": 0}
    defaults |= {"speculation": Speculation.OFF}
    return Scheduler(
        model,
        stop_tokens=stop_tokens,
        settings=EngineSettings(**defaults | settings),  # type: ignore[arg-type]
        storage=plan,
        kept=kept or PrefixCache(plan.form, is_on=False),
    )


def run_to_end(generator: Scheduler) -> dict[int, list[TokenStep]]:
    """Every sequence's steps."""
    steps: dict[int, list[TokenStep]] = {}
    while generator.waiting or generator.prefilling or generator.decoding:
        decoded = generator.decode()
        firsts = [step.first for step in generator.prefill() if step.first]
        for step in (*decoded, *firsts):
            steps.setdefault(step.uid, []).append(step)
    return steps
