"""Survivors that take over what a lost worker held: who takes what, and a real cluster that goes on."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from cluster_processes import start_coordinator, start_worker
from fixed_cluster import holder
from hypothesis import given
from hypothesis import strategies as st
from scripted_workers import HIDDEN, some_call
from streamed_load import Load, Question

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.loading import load_layers
from jangtq_coordinator.children import Child, Children
from jangtq_coordinator.prober import Prober
from jangtq_coordinator.rebalance import share_out, to_give_back
from jangtq_kernels.backend import NO_EXPERT
from jangtq_kernels.combined import CombinedLayer, Piece
from jangtq_kernels.errors import KernelInputError
from jangtq_kernels.reference import ReferenceBackend
from jangtq_proto.addresses import parse_address
from jangtq_proto.errors import CallRejectedError, WorkerBusyError
from jangtq_proto.ranges import parse_ranges


@given(st.sets(st.integers(0, 31), min_size=1), st.dictionaries(st.sampled_from("abcd"), st.integers(0, 20)))
def test_every_lost_expert_goes_to_one_who_has_room(lost: set[int], room: dict[str, int]) -> None:
    shares = share_out(sorted(lost), room)
    taken = [expert for share in shares.values() for expert in share]
    assert len(taken) == len(set(taken)) == min(len(lost), sum(room.values()))
    assert set(taken) <= lost
    assert all(0 < len(share) <= room[name] for name, share in shares.items())
    unfilled = [len(shares.get(name, ())) for name in room if len(shares.get(name, ())) < room[name]]
    assert not unfilled or max(map(len, shares.values())) - min(unfilled) <= 1


def test_pieces_answer_what_one_layer_would(small_bundle: Path) -> None:
    bundle, backend = Bundle.open(small_bundle), ReferenceBackend()
    halves = [tuple(range(20)), tuple(range(20, 32))]
    pieces = [Piece(half, load_layers(bundle, backend, half)[0]) for half in halves]
    whole = load_layers(bundle, backend, tuple(range(32)))[0]
    for seed in range(5):
        call = some_call(rows=4, seed=seed)
        combined, expected = CombinedLayer(pieces).forward(call), whole.forward(call)
        np.testing.assert_array_equal(combined.finest, expected.finest)
        meant = expected.finest <= call.exponents
        np.testing.assert_array_equal(combined.sums[meant], expected.sums[meant])
    assert CombinedLayer(pieces).nbytes == whole.nbytes
    nobody = some_call(rows=2)
    nobody.expert_ids[:] = NO_EXPERT
    assert not CombinedLayer(pieces).forward(nobody).sums.any()
    with pytest.raises(KernelInputError, match="is not held here"):
        CombinedLayer(pieces[:1]).forward(some_call(rows=8))


@pytest.fixture(scope="module")
def survivor(small_bundle: Path) -> Iterator[tuple[Children, Child]]:
    with Children() as children:
        worker = start_worker(children, small_bundle, "0-15", options=["--spare-gb", "0.001"])
        worker.ready()
        yield children, worker


def test_what_an_owner_serves_again_is_given_back_and_nothing_else() -> None:
    survivor = replace(holder("a", "0-5,8-9"), taken_over=parse_ranges("4-5,8-9"))
    other = replace(holder("b", "6-9"), taken_over=parse_ranges("8-9"))
    assert to_give_back([survivor, other]) == {}, "somebody must keep 8-9"
    assert to_give_back([survivor, other, holder("c", "5-8")]) == {"a": (5, 8), "b": (8,)}


async def test_a_survivor_takes_over_until_the_owner_is_back_and_running_answers_go_on(
    small_bundle: Path, survivor: tuple[Children, Child]
) -> None:
    children, worker = survivor
    other = start_worker(children, small_bundle, "16-31")
    addresses = [parse_address(one.listening()) for one in (worker, other)]
    before_loss = Prober(HIDDEN).ask(addresses[0], timeout_seconds=10)
    coordinator = start_coordinator(children, small_bundle, addresses, ["--rebalance", "0.2"])
    coordinator.ready()
    question = Question("Hello", 400)
    before, during = Load(coordinator.listening()), Load(coordinator.listening())
    await before.ask_each_once([question])
    asking = asyncio.create_task(during.ask_each_once([question]))
    while not during.arrivals:
        await asyncio.sleep(0)
    other.process.kill()
    await asking
    assert before.failures == during.failures == []
    assert during.answers == before.answers
    assert holders_of(coordinator) == [("0-31", "serving"), ("16-31", "lost")]
    start_worker(children, small_bundle, "16-31", listen=str(addresses[1])).ready()
    meanwhile = Load(coordinator.listening())
    asking = asyncio.create_task(meanwhile.ask_until_over([question], 4))
    while holders_of(coordinator) != [("0-15", "serving"), ("16-31", "serving")]:
        await asyncio.sleep(0.05)
    while (given_back := Prober(HIDDEN).ask(addresses[0], timeout_seconds=10)).weight_bytes != (
        before_loss.weight_bytes
    ):
        await asyncio.sleep(0.1)
    meanwhile.end()
    await asking
    assert meanwhile.failures == [] and set(meanwhile.answers[question]) == set(before.answers[question])
    assert (given_back.ranges, given_back.taken_over) == (before_loss.ranges, ())


def holders_of(coordinator: Child) -> list[tuple[str, str]]:
    holders = httpx.get(f"{coordinator.listening()}/cluster").json()["holders"]
    return [(held["experts"], held["state"]) for held in holders]


def test_a_worker_takes_over_no_more_than_it_has_room_for(
    small_bundle: Path, survivor: tuple[Children, Child]
) -> None:
    address = parse_address(survivor[1].listening())
    prober = Prober(HIDDEN)
    with pytest.raises(CallRejectedError, match="the model has 0-31"):
        prober.take_over(address, parse_ranges("30-32"))
    with Children() as children:
        narrow = start_worker(children, small_bundle, "0-3")
        narrow.ready()
        with pytest.raises(WorkerBusyError, match="this worker may take over 0 more"):
            prober.take_over(parse_address(narrow.listening()), parse_ranges("4-7"))
