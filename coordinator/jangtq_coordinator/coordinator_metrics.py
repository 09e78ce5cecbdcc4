"""What Prometheus is told of engine and cluster: read from their own counters when it asks."""

import itertools
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from jangtq_coordinator.cluster import Cluster
from jangtq_coordinator.engine import Engine
from jangtq_coordinator.timing import StageHistogram


class EngineCollector(Collector):
    """Queue, KV memory, prompt cache and speculation of an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        load, done = self._engine.load, self._engine.counters
        yield gauge(
            "jangtq_requests",
            "Requests in the engine, by stage.",
            "stage",
            {"waiting": load.waiting, "prefilling": load.prefilling, "decoding": load.decoding},
        )
        yield gauge(
            "jangtq_kv_bytes",
            "Bytes of the KV cache, of requests and of kept prompts.",
            "use",
            {"active": load.active_bytes, "kept": load.kept_bytes},
        )
        yield GaugeMetricFamily("jangtq_kv_budget_bytes", "Most bytes of the KV cache.", load.budget_bytes)
        for name, told, value in (
            ("admitted_prompt_tokens", "Prompt tokens of admitted requests.", done.prompt_tokens),
            ("cached_prompt_tokens", "Of these, the ones whose KV had been kept.", done.cached_tokens),
            ("draft_tokens", "Tokens guessed by prompt lookup.", done.drafted_tokens),
            ("draft_tokens_accepted", "Guessed tokens that were right.", done.accepted_tokens),
            ("decode_passes", "Forward passes that decoded.", done.decode_passes),
            ("failed_passes", "Forward passes that the cluster failed.", done.failed_passes),
            ("requests_refused", "Requests that found the queue full.", done.refused),
            ("requests_preempted", "Requests sent back to the queue for lack of memory.", done.preempted),
        ):
            yield CounterMetricFamily(f"jangtq_{name}", told, value)


class ClusterCollector(Collector):
    """Times of the exchange with the holders of experts."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def collect(self) -> Iterator[Metric]:
        yield stage_times(self._cluster.dispatcher.times.histograms())


def gauge(name: str, told: str, label: str, values: dict[str, float]) -> Metric:
    """One gauge with a value for each value of its label."""
    family = GaugeMetricFamily(name, told, labels=(label,))
    for given, value in values.items():
        family.add_metric((given,), value)
    return family


def stage_times(histograms: Iterable[StageHistogram]) -> Metric:
    """Where a layer's time goes; Prometheus wants buckets that hold all smaller ones too."""
    family = HistogramMetricFamily(
        "jangtq_layer_stage_seconds", "Seconds of one stage of one layer of one pass.", labels=("stage",)
    )
    for histogram in histograms:
        bounds = (*map(str, histogram.upper_bounds_seconds), "+Inf")
        buckets = list(zip(bounds, itertools.accumulate(histogram.counts), strict=True))
        family.add_metric((histogram.stage,), buckets, histogram.sum_seconds)
    return family
