"""Who gets in: keys, pages of other sites, names of the server, and the cluster's switches."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import openai
import pytest
from fastapi import Depends, FastAPI

from jangtq_coordinator.api.app import ApiSettings
from jangtq_coordinator.api.http.access import Access, KeyCheck, is_local_name, require_admin
from jangtq_coordinator.api.http.api_keys import KeyFile, add_key
from tests.support.api_server import Served, serving
from tests.support.tiny_model import MODEL_NAME

SITE = "https://chat.example"


@pytest.fixture
def key_path(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def key(key_path: Path) -> str:
    return add_key(key_path, "laptop")


@pytest.fixture
async def locked(key: str, key_path: Path) -> AsyncIterator[Served]:
    async with serving(settings=ApiSettings(access=Access(KeyFile(key_path)))) as served:
        yield served


async def test_a_key_is_asked_for_and_both_usual_headers_bring_it(locked: Served, key: str) -> None:
    for headers in (
        {"Authorization": f"Bearer {key}"},
        {"authorization": f"bearer {key}"},
        {"x-api-key": key},
    ):
        assert (await locked.http.get("/v1/models", headers=headers)).status_code == 200
    for headers in ({}, {"Authorization": f"Basic {key}"}, {"Authorization": "Bearer x"}, {"x-api-key": ""}):
        reply = await locked.http.get("/v1/models", headers=headers)
        assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
        assert reply.json()["error"]["code"] == "invalid_api_key"


async def test_every_route_but_the_page_and_the_probes_is_closed(locked: Served, key: str) -> None:
    paths = (await locked.http.get("/openapi.json", headers={"x-api-key": key})).json()["paths"]
    for path in (*paths, "/openapi.json", "/nothing"):
        reply = await locked.http.get(path)
        assert (reply.status_code == 401) == (path not in ("/", "/health/live", "/health/ready")), path
    assert (await locked.http.post("/v1/chat/completions", content=b"{")).status_code == 401


async def test_official_clients_get_their_own_error(locked: Served, key: str) -> None:
    with pytest.raises(openai.AuthenticationError):
        await locked.openai.models.list()
    models = await locked.openai.with_options(api_key=key).models.list()
    assert [model.id for model in models.data] == [MODEL_NAME]


async def test_a_removed_key_is_out_at_once(locked: Served, key: str, key_path: Path) -> None:
    headers = {"x-api-key": key}
    assert (await locked.http.get("/v1/models", headers=headers)).status_code == 200
    other = add_key(key_path, "other")
    key_path.write_text("".join(key_path.read_text().splitlines(keepends=True)[1:]))
    assert (await locked.http.get("/v1/models", headers=headers)).status_code == 401
    assert (await locked.http.get("/v1/models", headers={"x-api-key": other})).status_code == 200


async def test_pages_of_other_sites_are_kept_out() -> None:
    async with serving() as served:
        for origin in (SITE, "null", "http://127.0.0.1:1"):
            reply = await served.http.post("/v1/chat/completions", headers={"Origin": origin}, json={})
            assert reply.status_code == 403 and origin in reply.json()["error"]["message"]
            assert "access-control-allow-origin" not in reply.headers
        own = {"Origin": f"http://127.0.0.1:{served.port}"}
        assert (await served.http.get("/v1/models", headers=own)).status_code == 200


async def test_names_that_are_not_local_are_refused_without_keys(locked: Served, key: str) -> None:
    async with serving() as served:
        reply = await served.http.get("/v1/models", headers={"Host": "rebound.example:80"})
        assert reply.status_code == 403 and "'rebound.example:80'" in reply.json()["error"]["message"]
    reply = await locked.http.get("/v1/models", headers={"Host": "llm.example", "x-api-key": key})
    assert reply.status_code == 200


def test_local_names() -> None:
    for host in ("127.0.0.1", "10.0.0.1:8080", "[::1]:8080", "localhost:8080", "studio.local", "studio"):
        assert is_local_name(host), host
    for host in ("", "a.example", "local.example:80", "127.0.0.1.example", "[::1", "[x]:1"):
        assert not is_local_name(host), host


async def test_an_allowed_site_gets_the_headers_that_browsers_want() -> None:
    async with serving(settings=ApiSettings(access=Access(origins=(SITE,)))) as served:
        wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        reply = await served.http.options("/v1/chat/completions", headers={"Origin": SITE} | wanted)
        assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, SITE)
        reply = await served.http.get("/v1/models", headers={"Origin": SITE})
        assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, SITE)
        reply = await served.http.get("/v1/models", headers={"Origin": "https://other.example"})
        assert reply.status_code == 403 and "access-control-allow-origin" not in reply.headers


def admin_app(keys: KeyFile | None) -> FastAPI:
    app = FastAPI()

    @app.post("/switch", dependencies=[Depends(require_admin)])
    async def switch() -> None:
        pass

    if keys is not None:
        app.add_middleware(KeyCheck, keys=keys)
    return app


async def status_of_switch(app: FastAPI, client: str, headers: dict[str, str]) -> int:
    transport = httpx.ASGITransport(app, client=(client, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        return (await http.post("/switch", headers=headers)).status_code


async def test_the_cluster_is_changed_from_this_machine_or_with_a_key(key: str, key_path: Path) -> None:
    app = admin_app(None)
    assert await status_of_switch(app, "127.0.0.1", {}) == 200
    assert await status_of_switch(app, "::1", {}) == 200
    assert await status_of_switch(app, "10.0.0.9", {}) == 403
    assert await status_of_switch(app, "127.0.0.1", {"X-Forwarded-For": "10.0.0.9"}) == 403
    app = admin_app(KeyFile(key_path))
    assert await status_of_switch(app, "10.0.0.9", {"x-api-key": key}) == 200
    assert await status_of_switch(app, "127.0.0.1", {}) == 401
