"""What GET /cluster warns of."""

import pytest

from jangtq_coordinator.api.admin.cluster_status import warn_of_devices


@pytest.mark.parametrize("devices", [[], ["cpu"], ["cuda", "cuda"]])
def test_one_kind_of_device_gives_the_same_bits(devices: list[str]) -> None:
    assert warn_of_devices(devices) == ""


def test_several_kinds_of_devices_are_named() -> None:
    warning = warn_of_devices(["cuda", "cpu", "cuda"])
    assert warning.startswith("experts are computed by cpu and cuda: ")
    assert "may differ in its last bits" in warning
