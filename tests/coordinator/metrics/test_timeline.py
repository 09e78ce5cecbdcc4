"""The timeline keeps what served a request."""

from jangtq_coordinator.metrics.timeline import Timeline


def test_a_timeline_keeps_passes_that_served_somebody() -> None:
    timeline = Timeline()
    timeline.begin_request(3, "id")
    with timeline.forward_pass("decode"):
        pass
    with timeline.forward_pass("prefill") as served:
        served.append(3)
    timeline.end_request(3)
    record = timeline.copy()
    assert [(p.kind, p.requests) for p in record.passes] == [("prefill", (3,))]
    (request,) = record.requests
    assert request.ended is not None
    assert request.began <= record.passes[0].began <= record.passes[0].ended <= request.ended
    assert (request.passes, record.passes_made, record.layers_from) == (1, 1, 0)
