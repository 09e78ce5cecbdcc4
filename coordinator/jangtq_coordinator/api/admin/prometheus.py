"""Metrics of engine and cluster for Prometheus, read from their own counters at each scrape."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from jangtq_coordinator.assembly.connect import Cluster
from jangtq_coordinator.cluster.placement import MemberState
from jangtq_coordinator.engine.engine import Engine
from jangtq_coordinator.engine.stats import Durations
from jangtq_coordinator.metrics.layer_times import UPPER_BOUNDS_SECONDS, StageHistogram
from jangtq_coordinator.metrics.worker_traffic import WorkerTraffic
from jangtq_coordinator.model.overlap import OverlapChooser


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
        for name, help_text, value in (
            ("admitted_prompt_tokens", "Prompt tokens of admitted requests.", done.prompt_tokens),
            ("cached_prompt_tokens", "Of these, the ones whose KV had been kept.", done.cached_tokens),
            ("draft_tokens", "Tokens guessed by prompt lookup.", done.drafted_tokens),
            ("draft_tokens_accepted", "Guessed tokens that were right.", done.accepted_tokens),
            ("decode_passes", "Forward passes that decoded.", done.decode_passes),
            ("failed_passes", "Forward passes that the cluster failed.", done.failed_passes),
            ("requests_refused", "Requests that found the queue full.", done.refused),
            ("requests_preempted", "Requests sent back to the queue for lack of memory.", done.preempted),
        ):
            yield CounterMetricFamily(f"jangtq_{name}", help_text, value)
        yield held_up(done.held_up)


class ClusterCollector(Collector):
    """The exchange with the workers of experts: its times, its losses, and what each worker had to do."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def collect(self) -> Iterator[Metric]:
        dispatcher, membership = self._cluster.dispatcher, self._cluster.membership
        yield stage_times(dispatcher.times.histograms())
        yield from overlap(self._cluster.overlap)
        traffic = dispatcher.traffic.all()
        yield waits(traffic)
        yield counter(
            "jangtq_worker_picks",
            "Rows computed by a worker, one for each of a row's experts.",
            "worker",
            {name: of.picks for name, of in traffic.items()},
        )
        yield gauge(
            "jangtq_worker_serving",
            "1 while a worker is asked, 0 while it is lost, draining or in quarantine.",
            "worker",
            {member.name: float(member.state is MemberState.SERVING) for member in membership.members},
        )
        events = asdict(membership.counters)
        paused = events.pop("paused_seconds")
        yield counter("jangtq_cluster_events", "What happened to the cluster, by kind.", "kind", events)
        yield CounterMetricFamily(
            "jangtq_paused_seconds",
            "Seconds in which passes waited for experts that no worker served.",
            paused,
        )
        uncovered = sum(len(held) == 0 for held in membership.placement.workers_of)
        yield GaugeMetricFamily("jangtq_uncovered_experts", "Experts that no worker serves.", uncovered)


def counter(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    """One counter with a value for each value of its label."""
    family = CounterMetricFamily(name, help_text, labels=(label,))
    for given, value in values.items():
        family.add_metric((given,), value)
    return family


def gauge(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    """One gauge with a value for each value of its label."""
    family = GaugeMetricFamily(name, help_text, labels=(label,))
    for given, value in values.items():
        family.add_metric((given,), value)
    return family


def stage_times(histograms: Iterable[StageHistogram]) -> Metric:
    """Where a layer's time goes."""
    family = HistogramMetricFamily(
        "jangtq_layer_stage_seconds", "Seconds of one stage of one layer of one pass.", labels=("stage",)
    )
    for histogram in histograms:
        family.add_metric((histogram.stage,), buckets(histogram.counts), histogram.sum_seconds)
    return family


def overlap(chooser: OverlapChooser) -> Iterator[Metric]:
    """How passes ran that could run as two halves, and what is chosen now for each kind and size."""
    yield counter(
        "jangtq_passes",
        "Passes that could run as two halves, by how they ran.",
        "ran",
        {"whole": chooser.passes[False], "halves": chooser.passes[True]},
    )
    yield gauge(
        "jangtq_overlap",
        "1 where passes of this kind and up to so many rows run as two halves now.",
        "passes",
        {f"{state.kind} {state.most_rows}": float(state.overlapped) for state in chooser.states()},
    )
    yield CounterMetricFamily(
        "jangtq_overlap_trials", "Passes that ran the other way to compare.", chooser.trials
    )
    yield CounterMetricFamily(
        "jangtq_overlap_trial_seconds",
        "How much longer these passes took than the ones beside them.",
        chooser.trial_seconds,
    )


def held_up(durations: Durations) -> Metric:
    """What `--prefill-ms` bounds."""
    family = HistogramMetricFamily(
        "jangtq_held_up_seconds", "Seconds for which decoding requests waited for a part of a prompt."
    )
    family.add_metric((), buckets(durations.counts), durations.nanoseconds / 1e9)
    return family


def waits(traffic: Mapping[str, WorkerTraffic]) -> Metric:
    """How long each worker's answers were waited for."""
    family = HistogramMetricFamily(
        "jangtq_dispatch_seconds",
        "Seconds from a layer's calls to a worker's answer, the worker's own time included.",
        labels=("worker",),
    )
    for name, of in traffic.items():
        family.add_metric((name,), buckets(of.wait_counts), of.wait_ns / 1e9)
    return family


def buckets(counts: Iterable[int]) -> list[tuple[str, float]]:
    """Counts between the bounds of `timing` as Prometheus wants them: each with all smaller ones."""
    bounds = (*map(str, UPPER_BOUNDS_SECONDS), "+Inf")
    return list(zip(bounds, itertools.accumulate(counts), strict=True))
