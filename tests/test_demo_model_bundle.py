"""The bundle that ships in the package: small, whole, and of the architecture it shows."""

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.models import demo_model

MOST_BYTES = 12_000_000


def test_the_whole_folder_is_at_most_12_megabytes() -> None:
    sizes = {file.name: file.stat().st_size for file in demo_model().iterdir()}
    assert sum(sizes.values()) <= MOST_BYTES, sizes


def test_it_has_256_experts_of_which_a_token_asks_8() -> None:
    config = Bundle.open(demo_model()).config
    assert (config.profile, config.expert_count, config.experts_per_token) == ("JANGTQ2", 256, 8)
