"""The page at / in a real browser, over real processes with the demo's trained model."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from jangtq_bundle.models import demo_model
from jangtq_coordinator.api.http.api_keys import add_key
from jangtq_coordinator.cli.demo.processes import Child, Children
from jangtq_proto.addresses import parse_address
from tests.support.browser import PHONE, open_page, running_browser
from tests.support.cluster_processes import start_coordinator, start_worker
from tests.support.forks import processes

QUESTION = "Explain photosynthesis in five sentences."
expect.set_options(timeout=60_000)


@dataclass
class Shown:
    """A cluster with a page; `second` may be killed and started again."""

    browser: Browser
    children: Children
    url: str
    key: str
    second: Child
    second_address: str

    def start_second(self) -> None:
        self.second = start_worker(self.children, demo_model(), "128-255", listen=self.second_address)
        self.second.ready()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    keys = tmp_path_factory.mktemp("page") / "keys"
    key = add_key(keys, "page")
    with processes() as children, running_browser() as browser:
        workers = [start_worker(children, demo_model(), experts) for experts in ("0-127", "128-255")]
        addresses = [parse_address(worker.listening()) for worker in workers]
        for worker in workers:
            worker.ready()
        coordinator = start_coordinator(children, demo_model(), addresses, ["--api-keys", str(keys)])
        coordinator.ready()
        yield Shown(browser, children, coordinator.listening(), key, workers[1], str(addresses[1]))


@pytest.fixture
def page(shown: Shown) -> Iterator[Page]:
    with open_page(shown.browser, shown.url, key=shown.key) as page:
        yield page


def ask(page: Page, text: str) -> None:
    page.fill("#text", text)
    page.press("#text", "Enter")


def test_an_answer_streams_with_its_thinking_folded(page: Page) -> None:
    ask(page, QUESTION)
    expect(page.locator(".turn.user")).to_have_text(QUESTION)
    expect(page.locator(".turn .foot")).to_contain_text("tokens")
    assert "light" in page.inner_text(".answer")
    thinking = page.locator("details.aside")
    expect(thinking.locator("summary")).to_contain_text("Thought for")
    expect(thinking.locator(".inner")).to_be_hidden()
    thinking.locator("summary").click()
    expect(thinking.locator(".inner")).to_contain_text("photosynthesis")
    ask(page, "Thank you!")
    expect(page.locator(".turn .foot")).to_have_count(2)


def test_stop_ends_the_answer_here_and_on_the_server(page: Page, shown: Shown) -> None:
    for _ in range(10):
        ask(page, QUESTION)
        page.locator(".turn details.aside").wait_for()
        page.locator("#stop").evaluate("button => button.click()")
        expect(page.locator("#send")).to_be_visible()
        stopped = page.locator(".turn .foot", has_text="Stopped.").count() == 1
        # The server hears of it a moment later.
        if stopped and comes_true(lambda: 'generations_total{end="cancelled"}' in metrics(shown), seconds=5):
            break
        # The answer was complete before the click, here or on the server.
        page.click("#new")
    else:
        pytest.fail("ten answers were complete before they could be stopped")
    ask(page, "Hello!")
    expect(page.locator(".turn .foot").last).to_contain_text("tokens")


def comes_true(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def metrics(shown: Shown) -> str:
    return httpx.get(f"{shown.url}/metrics", headers={"x-api-key": shown.key}).text


def test_tools_run_in_the_page_and_are_shown(page: Page) -> None:
    page.get_by_text("What is 23 * 17? Use the calculator.").click()
    tool = page.locator("details[data-tool=calculate]")
    expect(tool.locator("summary")).to_have_text("Used calculate")
    tool.locator("summary").click()
    expect(tool.locator(".inner")).to_contain_text("23 * 17")
    expect(tool.locator(".inner")).to_contain_text('{"result":391}')
    expect(page.locator(".answer").last).to_contain_text("391")


def test_the_cluster_is_shown_as_it_runs(page: Page) -> None:
    ask(page, QUESTION)
    expect(page.locator("#workers .worker")).to_have_count(2)
    expect(page.locator("#workers .facts").first).to_have_text(
        re.compile(r"experts 0-127 · \d+\.\d MB · cpu · [\d.]+ ms away")
    )
    expect(page.locator("#workers .state").first).to_have_text(re.compile(r"[1-9]\d?%"))
    expect(page.locator("#health")).to_have_text("ready")
    expect(page.locator("#now")).to_contain_text("Running")
    expect(page.locator("#rate")).not_to_have_text("0")
    assert page.evaluate(
        "[document.querySelector('#heat').width, document.querySelector('#heat').height]"
    ) == [256, 3]
    page.hover("#heat")
    expect(page.locator("#heat-words")).to_contain_text("Layer 1, expert 128")
    assert page.locator("#ruler i").count() == 2


def test_a_worker_is_drained_and_added_again(page: Page, shown: Shown) -> None:
    page.get_by_role("button", name=f"Drain {shown.second_address}").click()
    # No other holds its experts, and the server says so.
    expect(page.locator("#worker-words")).to_contain_text("128-255")
    page.fill("#add-name", "127.0.0.1:1")
    page.get_by_role("button", name="Add worker").click()
    expect(page.locator("#worker-words")).to_contain_text("127.0.0.1:1")


def test_panels_are_hidden_and_stay_so(page: Page) -> None:
    page.click("#cluster-toggle")
    expect(page.locator("#cluster")).to_be_hidden()
    page.reload()
    expect(page.locator("#cluster")).to_be_hidden()
    expect(page.locator("#cluster-toggle")).to_have_attribute("aria-expanded", "false")
    page.click("#cluster-toggle")
    expect(page.locator("#cluster")).to_be_visible()


def test_a_question_waits_for_a_lost_worker_whose_return_is_enough(page: Page, shown: Shown) -> None:
    shown.second.process.kill()
    shown.second.process.wait()
    expect(page.locator("#health")).to_have_text("waiting: no worker holds experts 128-255")
    expect(page.locator(".worker.lost")).to_contain_text(shown.second_address)
    expect(page.locator("#ruler i")).to_have_count(1)
    ask(page, QUESTION)
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    shown.start_second()
    expect(page.locator("#health")).to_have_text("ready")
    expect(page.locator(".turn .foot")).to_contain_text("tokens")
    expect(page.locator(".failure")).to_have_count(0)


def test_a_phone_shows_one_side_at_a_time(shown: Shown) -> None:
    with open_page(shown.browser, shown.url, key=shown.key, viewport=PHONE) as page:
        expect(page.locator("#chat")).to_be_visible()
        expect(page.locator("#cluster")).to_be_hidden()
        page.get_by_role("button", name="Cluster", exact=True).click()
        expect(page.locator("#workers .worker").first).to_be_visible()
        expect(page.locator("#chat")).to_be_hidden()
        page.get_by_role("button", name="Chats", exact=True).click()
        expect(page.locator("#no-talks")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_the_key_is_asked_for_and_kept_for_the_tab(shown: Shown) -> None:
    with open_page(shown.browser, shown.url) as page:
        page.fill("#key", "jangtq-wrong")
        page.press("#key", "Enter")
        expect(page.locator("#key-wrong")).to_contain_text("does not know this key")
        page.fill("#key", shown.key)
        page.press("#key", "Enter")
        expect(page.locator("#health")).to_have_text("ready")
        page.reload()
        expect(page.locator("#health")).to_have_text("ready")
        expect(page.locator("#key-dialog")).to_be_hidden()
        assert shown.key not in page.evaluate("JSON.stringify({...localStorage})")


def test_the_page_allows_nothing_but_itself(shown: Shown) -> None:
    reply = httpx.get(shown.url)
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert "http" not in policy
    script = httpx.get(f"{shown.url}/page/main.js")
    assert script.headers["content-type"].startswith("text/javascript")
    again = httpx.get(f"{shown.url}/page/main.js", headers={"If-None-Match": script.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert httpx.get(f"{shown.url}/page/../app.py").status_code in (401, 404)
    assert httpx.get(f"{shown.url}/page/page.html").status_code == 404
