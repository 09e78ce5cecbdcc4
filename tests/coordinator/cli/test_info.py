"""`jangtq-coord info`: what it says of a coordinator."""

from jangtq_coordinator.cli.info import Model, Models, facts_of
from jangtq_coordinator.cli.status import ClusterView, Health, Status


def test_a_coordinator_that_loads_has_no_model_yet() -> None:
    health = Health(status="loading", model=None, requests=0, cluster={})
    status = Status(health=health, cluster=ClusterView(fingerprint="f", workers=[], layers=[]))
    assert facts_of("http://a:1", Models(data=[]), status)["model"] == "none yet"
    facts = facts_of("http://a:1", Models(data=[Model(id="m", max_model_len=2048)]), status)
    assert (facts["model"], facts["longest conversation, tokens"]) == ("m", 2048)
    assert (facts["page"], facts["workers"]) == ("http://a:1/", "0 of 0 serve")
