"""Tickets: good once, for seconds, and not without number."""

import pytest

from jangtq_proto.errors import WorkerBusyError
from jangtq_worker.transport.tickets import LIFETIME_SECONDS, Tickets


def test_a_ticket_is_good_once_and_for_seconds() -> None:
    now = [100.0]
    tickets = Tickets(clock=lambda: now[0])
    first, second = tickets.issue(), tickets.issue()
    assert first != second and len(first) == 32
    assert tickets.redeem(first)
    assert not tickets.redeem(first)
    assert not tickets.redeem(bytes(32))
    now[0] += LIFETIME_SECONDS
    assert not tickets.redeem(second)


def test_tickets_that_nobody_uses_do_not_pile_up() -> None:
    now = [0.0]
    tickets = Tickets(clock=lambda: now[0])
    with pytest.raises(WorkerBusyError, match="256 tickets"):
        while True:
            tickets.issue()
    now[0] += LIFETIME_SECONDS
    assert tickets.redeem(tickets.issue())
