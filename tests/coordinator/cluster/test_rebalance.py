"""Survivors that take over what a lost worker held: who takes what, and a real cluster that goes on."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.loading import load_layers
from jangtq_coordinator.cli.demo.processes import Child, Children
from jangtq_coordinator.cluster.rebalance import share_out
from jangtq_coordinator.transport.control_client import ControlClient
from jangtq_coordinator.transport.worker_info import LOCAL
from jangtq_kernels.backend import NO_EXPERT
from jangtq_kernels.combined import CombinedLayer, Piece
from jangtq_kernels.errors import KernelInputError
from jangtq_kernels.reference import ReferenceBackend
from jangtq_proto.addresses import parse_address
from jangtq_proto.errors import CallRejectedError, WorkerBusyError
from jangtq_proto.ranges import parse_ranges
from tests.support.cluster_processes import start_coordinator, start_worker
from tests.support.scripted_workers import HIDDEN, some_call
from tests.support.streamed_load import Load, Question

ROOM = ["--spare-gb", "0.001"]
COUNTS = st.integers(0, 20)


@given(st.sets(st.integers(0, 31), min_size=1), st.dictionaries(st.sampled_from("abcd"), COUNTS), COUNTS)
def test_every_lost_expert_goes_to_one_who_has_room(
    lost: set[int], room: dict[str, int], own_room: int
) -> None:
    shares = share_out(sorted(lost), room, own_room=own_room)
    own = shares.pop(LOCAL, ())
    assert len(own) == min(own_room, max(0, len(lost) - sum(room.values())))
    lost -= set(own)
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
def children() -> Iterator[Children]:
    with Children() as started:
        yield started


OWN = [("0-15", "serving")]
AFTER_LOSS = {
    "worker": [("0-31", "serving"), ("16-31", "lost")],
    "coordinator": [*OWN, ("16-31", "lost"), ("16-31", "serving")],
}
AFTER_RETURN = {
    "worker": [*OWN, ("16-31", "serving")],
    "coordinator": [*OWN, ("16-31", "serving"), ("", "serving")],
}


@pytest.mark.parametrize("helper", ["worker", "coordinator"])
async def test_somebody_takes_over_until_the_owner_is_back_and_running_answers_go_on(
    small_bundle: Path, children: Children, helper: str
) -> None:
    spare = {name: ROOM if name == helper else [] for name in ("worker", "coordinator")}
    worker = start_worker(children, small_bundle, "0-15", options=spare["worker"])
    other = start_worker(children, small_bundle, "16-31")
    addresses = [parse_address(one.listening()) for one in (worker, other)]
    options = ["--rebalance", "0.2", *spare["coordinator"]]
    coordinator = start_coordinator(children, small_bundle, addresses, options)
    coordinator.ready()
    prober = ControlClient(HIDDEN)
    alone = prober.ask(addresses[0], timeout_seconds=10)
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
    assert workers_of(coordinator) == AFTER_LOSS[helper]
    start_worker(children, small_bundle, "16-31", listen=str(addresses[1])).ready()
    meanwhile = Load(coordinator.listening())
    asking = asyncio.create_task(meanwhile.ask_until_over([question], 1))
    while workers_of(coordinator) != AFTER_RETURN[helper]:
        await asyncio.sleep(0.05)
    while (now := prober.ask(addresses[0], timeout_seconds=10)).weight_bytes != alone.weight_bytes:
        await asyncio.sleep(0.1)
    meanwhile.end()
    await asking
    assert meanwhile.failures == [] and set(meanwhile.answers[question]) == set(before.answers[question])
    assert (now.ranges, now.taken_over) == (alone.ranges, ())
    coordinator.stop(30)


def workers_of(coordinator: Child) -> list[tuple[str, str]]:
    workers = httpx.get(f"{coordinator.listening()}/cluster").json()["workers"]
    return [(held["experts"], held["state"]) for held in workers]


def test_a_worker_takes_over_no_more_than_it_has_room_for(small_bundle: Path, children: Children) -> None:
    narrow = start_worker(children, small_bundle, "0-3")
    narrow.ready()
    address, prober = parse_address(narrow.listening()), ControlClient(HIDDEN)
    with pytest.raises(CallRejectedError, match="the model has 0-31"):
        prober.take_over(address, parse_ranges("30-32"))
    with pytest.raises(WorkerBusyError, match="0 are left for more"):
        prober.take_over(address, parse_ranges("4-7"))
