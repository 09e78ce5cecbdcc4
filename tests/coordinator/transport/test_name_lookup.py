"""What names of hosts stand for."""

from jangtq_coordinator.transport.name_lookup import addresses_of
from jangtq_proto.addresses import Address


def test_numbers_stand_for_themselves_and_names_for_numbers() -> None:
    assert addresses_of(Address("192.0.2.1", 7700)) == {"192.0.2.1"}
    assert addresses_of(Address("::1", 7700)) == {"::1"}
    assert addresses_of(Address("localhost", 7700)) & {"127.0.0.1", "::1"}


def test_what_has_no_address_now_stands_for_nothing() -> None:
    assert addresses_of(Address("nowhere.invalid", 7700)) == frozenset()
    assert addresses_of(Address("unix:/tmp/socket", 0)) == frozenset()
