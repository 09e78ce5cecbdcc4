"""Small routes of other servers' clients, names beside the model's own, refusals with a way on."""

import pytest

from jangtq_coordinator.api.app import ApiSettings
from jangtq_coordinator.api.chat.served_names import ServedNames
from tests.support.api_server import answering
from tests.support.tiny_model import MODEL_NAME

CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}


async def test_aliases_serve_the_model_and_other_names_do_not() -> None:
    settings = ApiSettings(names=ServedNames(("gpt-5", "a/b")))
    async with answering("Yes.", settings) as served:
        for name in (MODEL_NAME, "gpt-5", "a/b"):
            told = await served.http.post("/v1/chat/completions", json=CHAT | {"model": name})
            assert told.status_code == 200 and told.json()["model"] == name
            assert (await served.http.get(f"/v1/models/{name}")).json()["id"] == name
        told = await served.http.post("/v1/chat/completions", json=CHAT | {"model": "gpt-4"})
        assert told.status_code == 404 and "'gpt-5'" in told.json()["error"]["message"]
        names = [model["id"] for model in (await served.http.get("/v1/models")).json()["data"]]
        assert names == [MODEL_NAME, "gpt-5", "a/b"]
        listed = [model.id async for model in served.anthropic.models.list()]
        assert listed == names


async def test_tokens_and_back() -> None:
    async with answering("Yes.") as served:
        for name in ("prompt", "content"):
            told = (
                await served.http.post("/tokenize", json={name: "Hi 🌍", "return_token_strs": True})
            ).json()
            assert told["count"] == len(told["tokens"]) == len("Hi 🌍".encode())
            back = (await served.http.post("/detokenize", json={"tokens": told["tokens"]})).json()
            assert back["prompt"] == back["content"] == "Hi 🌍"
        told = (await served.http.post("/tokenize", json={"messages": CHAT["messages"]})).json()
        asked = (await served.http.post("/v1/chat/completions", json=CHAT)).json()
        assert told["count"] == asked["usage"]["prompt_tokens"]
        for wrong in ({}, {"prompt": "a", "content": "b"}, {"prompt": "a", "model": "gpt-4"}):
            assert (await served.http.post("/tokenize", json=wrong)).status_code in (400, 404)
        assert (await served.http.post("/detokenize", json={"tokens": [99999]})).status_code == 400


async def test_facts() -> None:
    async with answering("Yes.") as served:
        props = (await served.http.get("/props")).json()
        assert props["default_generation_settings"]["n_ctx"] == 4096 and "]~b]" in props["chat_template"]
        assert (await served.http.get("/version")).json()["version"]
        assert (await served.http.get("/v1/health")).status_code == 200


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", "/v1/nothing", "/v1/chat/completions"])
async def test_head_is_get_without_the_body(path: str) -> None:
    async with answering("Yes.") as served:
        head, get = await served.http.head(path), await served.http.get(path)
    assert head.status_code == get.status_code and head.content == b""
    assert head.headers["content-type"] == get.headers["content-type"]


async def test_the_same_paths_without_v1() -> None:
    async with answering("Yes.") as served:
        for path, body in (
            ("/chat/completions", CHAT),
            ("/completions", {"prompt": "a"}),
            ("/messages", CHAT),
        ):
            assert (await served.http.post(path, json=body)).status_code == 200
        assert (await served.http.get("/models")).json()["data"][0]["id"] == MODEL_NAME
        assert (await served.http.post("/responses", json={"input": "a"})).json()["object"] == "response"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/embeddings", "has no embeddings"),
        ("/embeddings", "Use another server"),
        ("/v1/images/generations", "makes no images"),
        ("/v1/audio/speech", "does not speak"),
        ("/v1/rerank", "does not rank"),
        ("/v1/messages/batches", "send the requests at once"),
        ("/v1/responses/compact", "truncation: auto"),
    ],
)
async def test_what_a_text_model_cannot_do_is_refused_with_a_way_on(path: str, words: str) -> None:
    async with answering("Yes.") as served:
        told = await served.http.post(path, json={"input": "a"})
    assert told.status_code == 404 and words in told.json()["error"]["message"]
