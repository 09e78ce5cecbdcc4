"""Survivors that take over what a lost worker held: who takes what, and a real cluster that goes on."""

from hypothesis import given
from hypothesis import strategies as st

from jangtq_coordinator.cluster.rebalance import share_out
from jangtq_coordinator.transport.worker_info import LOCAL

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
