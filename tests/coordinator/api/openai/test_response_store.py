"""Responses kept in memory: by owner, the last used ones, within their room."""

from jangtq_coordinator.api.openai.response_store import ResponseStore


def body(name: str, *, filler: int = 0) -> dict[str, object]:
    return {"id": name, "output": [], "filler": "x" * filler}


def test_a_response_belongs_to_the_key_that_asked_for_it() -> None:
    store = ResponseStore()
    store.put("laptop", body("one"), [])
    assert store.get("phone", "one") is None and store.get(None, "one") is None
    assert (kept := store.get("laptop", "one")) is not None and kept.body["id"] == "one"
    store.delete("phone", "one")
    assert store.get("laptop", "one") is not None
    store.delete("laptop", "one")
    assert store.get("laptop", "one") is None


def test_the_one_that_was_used_longest_ago_is_forgotten_first() -> None:
    store = ResponseStore(max_count=2)
    store.put(None, body("one"), [])
    store.put(None, body("two"), [])
    assert store.get(None, "one") is not None
    store.put(None, body("three"), [])
    assert store.get(None, "two") is None
    assert store.get(None, "one") is not None and store.get(None, "three") is not None


def test_bytes_are_limited_and_what_is_larger_than_all_room_is_not_kept() -> None:
    store = ResponseStore(max_bytes=1000)
    store.put(None, body("one", filler=500), [])
    store.put(None, body("huge", filler=2000), [])
    assert store.get(None, "huge") is None and store.get(None, "one") is not None
    store.put(None, body("two", filler=500), [])
    assert store.get(None, "one") is None and store.get(None, "two") is not None
