"""`speculation` in requests of every API: a wish that changes how fast an answer comes, and nothing of it."""

from jangtq_coordinator.engine.engine_config import EngineSettings, Speculation
from tests.support.api_server import serving

REPEATING = "abcabcabcabcabcabcabcabc"
CHAT = {"messages": [{"role": "user", "content": REPEATING}], "max_tokens": 30}
ASKED: dict[str, dict[str, object]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"prompt": REPEATING, "max_tokens": 30},
    "/v1/responses": {"input": REPEATING, "max_output_tokens": 30},
    "/v1/messages": CHAT,
}


async def test_requests_wish_for_more_guesses_or_none() -> None:
    async with serving(engine_settings=EngineSettings(speculation=Speculation.AUTO)) as served:
        for path, asked in ASKED.items():
            told, drafted = [], []
            for wish in ({"speculation": "off"}, {"speculation": "on"}, {}):
                before = served.engine.counters.drafted_tokens
                answer = await served.http.post(path, json=asked | {"temperature": 0} | wish)
                assert answer.status_code == 200, answer.text
                told.append(answer_in(answer.json()))
                drafted.append(served.engine.counters.drafted_tokens - before)
            assert drafted[0] == 0 < drafted[1] and told[0] == told[1] == told[2]
            refused = await served.http.post(path, json=asked | {"speculation": "fast"})
            assert refused.status_code == 400 and "speculation" in refused.text and "'off'" in refused.text


def answer_in(value: object) -> object:
    """What is said, under whatever names, without what differs from answer to answer."""
    if isinstance(value, dict):
        differing = ("id", "created", "created_at", "completed_at", "usage", "prompt_tokens_details")
        return {key: answer_in(one) for key, one in value.items() if key not in differing}
    return [answer_in(one) for one in value] if isinstance(value, list) else value
