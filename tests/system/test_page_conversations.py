"""Conversations on the page, over a real coordinator; answers that must fail or be known are the test's."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from jangtq_bundle.models import demo_model
from tests.support.browser import DESKTOP, PHONE, open_page, running_browser
from tests.support.cluster_processes import start_alone
from tests.support.forks import processes

MARKDOWN = Path(__file__).with_name("page_markdown.md").read_text()
CHAT = "**/v1/chat/completions"


@dataclass(frozen=True)
class Site:
    browser: Browser
    url: str


@dataclass
class Script:
    """What the page asked, and what it is answered: text, or a status with a body."""

    answers: list[str | tuple[int, str]]
    bodies: list[dict[str, object]] = field(default_factory=list)

    def handle(self, route: Route) -> None:
        self.bodies.append(json.loads(route.request.post_data or ""))
        answer = self.answers.pop(0)
        if isinstance(answer, str):
            route.fulfill(body=stream_of(answer), content_type="text/event-stream")
        else:
            route.fulfill(status=answer[0], body=answer[1])

    @property
    def told(self) -> list[tuple[object, object]]:
        """Role and content of the newest request's messages."""
        messages = self.bodies[-1]["messages"]
        assert isinstance(messages, list)
        return [(message["role"], message["content"]) for message in messages]


def stream_of(text: str) -> str:
    deltas = [{"reasoning_content": "Let me see."}, {"content": text}]
    chunks: list[dict[str, object]] = [{"choices": [{"index": 0, "delta": d}]} for d in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    usage = {"prompt_tokens": 1700, "completion_tokens": 20, "total_tokens": 1720}
    chunks.append({"choices": [], "usage": usage})
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with processes() as children, running_browser() as browser:
        yield Site(browser, start_alone(children, demo_model()).listening())


@pytest.fixture
def page(site: Site) -> Iterator[Page]:
    with open_page(site.browser, site.url) as page:
        page.locator("#text").wait_for()
        yield page


def scripted(page: Page, *answers: str | tuple[int, str]) -> Script:
    script = Script(list(answers))
    page.route(CHAT, script.handle)
    return script


def ask(page: Page, text: str) -> None:
    page.fill("#text", text)
    page.press("#text", "Enter")


def tell(page: Page, text: str, *, answered: int) -> None:
    ask(page, text)
    expect(page.locator(".turn .foot:visible")).to_have_count(answered)


def test_conversations_are_kept_listed_and_opened_again(page: Page) -> None:
    scripted(page, "First answer.", "Second answer.")
    tell(page, "First question", answered=1)
    page.click("#new")
    tell(page, "Second question", answered=1)
    page.reload()
    expect(page.locator("#talks .title")).to_have_text(["Second question", "First question"])
    page.get_by_role("button", name="First question", exact=True).click()
    expect(page.locator(".answer")).to_have_text("First answer.")
    page.locator("#talks li").last.hover()
    page.get_by_role("button", name="Delete First question").click()
    expect(page.locator("#talks li")).to_have_count(1)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#talks li")).to_have_count(2)
    expect(page.locator(".answer")).to_have_text("First answer.")


def test_a_message_is_edited_and_what_followed_is_forgotten(page: Page) -> None:
    script = scripted(page, "One.", "Two.", "Other.")
    tell(page, "First", answered=1)
    tell(page, "Second", answered=2)
    page.locator(".turn.user").first.hover()
    page.get_by_role("button", name="Edit message").first.click()
    page.fill(".editing", "Changed")
    page.press(".editing", "Enter")
    expect(page.locator(".answer")).to_have_text(["Other."])
    assert script.told == [("user", "Changed")]


def test_an_answer_is_made_again_and_a_turn_deleted(page: Page) -> None:
    script = scripted(page, "One.", "Two.", "Better.")
    tell(page, "First", answered=1)
    tell(page, "Second", answered=2)
    page.get_by_role("button", name="Regenerate answer").last.click()
    expect(page.locator(".answer").last).to_have_text("Better.")
    assert script.told == [("user", "First"), ("assistant", "One."), ("user", "Second")]
    page.locator(".turn.user").first.hover()
    page.get_by_role("button", name="Delete message and answer").first.click()
    expect(page.locator(".answer")).to_have_text(["Better."])


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (
            503,
            json.dumps({"error": {"message": "Worker a:1 does not answer."}}),
            "Worker a:1 does not answer.",
        ),
        (502, "<html>Bad Gateway</html>", "A proxy answered that it cannot reach the server."),
        (500, "<html>", "The server answered 500 without saying why."),
    ],
)
def test_a_failed_message_says_why_and_spoils_no_later_one(
    page: Page, status: int, body: str, words: str
) -> None:
    script = scripted(page, (status, body), "Good.", "At last.")
    ask(page, "Lost")
    expect(page.locator(".failure")).to_contain_text(words)
    tell(page, "Next", answered=1)
    assert script.told == [("user", "Next")]
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".answer")).to_have_text(["At last."])
    assert script.told == [("user", "Lost")]


def test_escape_stops_an_answer(page: Page) -> None:
    page.route(CHAT, lambda route: None)
    ask(page, "Hello")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".failure")).to_contain_text("Stopped before an answer came.")
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()


def test_settings_reach_the_server_and_the_context_is_shown(page: Page) -> None:
    script = scripted(page, "Yes.")
    page.click("#settings")
    page.fill("#system", "Be brief.")
    page.check("#temperature-given")
    page.fill("#temperature", "0.5")
    page.fill("#length", "99")
    page.get_by_role("button", name="Save").click()
    page.locator("#thinking + span").click()
    tell(page, "Really?", answered=1)
    body = script.bodies[0]
    assert script.told == [("system", "Be brief."), ("user", "Really?")]
    assert (body["temperature"], body["max_tokens"]) == (0.5, 99)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    expect(page.locator("#context")).to_contain_text("1,720 of ")


def test_markdown_and_code_are_set_and_nothing_runs(page: Page) -> None:
    scripted(page, MARKDOWN)
    tell(page, "Show me", answered=1)
    answer = page.locator(".answer")
    expect(answer.locator("table td")).to_have_count(4)
    expect(answer.locator("ol > li > ul > li")).to_have_count(2)
    expect(answer.locator("blockquote")).to_contain_text("quoted")
    expect(answer.locator(".formula")).to_have_text("$a_1 + b_2 = c_3$")
    expect(answer.locator(".code-head")).to_have_text("python")
    assert answer.locator(".code .hljs-keyword").count() >= 2
    assert "<img src=x" in answer.inner_text()
    assert answer.locator("img, script, [onerror]").count() == 0


def test_markdown_may_end_anywhere_and_finished_blocks_stay(page: Page) -> None:
    grown = page.evaluate(
        """async (text) => {
          const { MarkdownView } = await import("./page/markdown.js");
          const node = document.createElement("div");
          const view = new MarkdownView(node);
          view.update(text.slice(0, 60));
          const first = node.firstChild;
          for (let end = 60; end <= text.length; end++) view.update(text.slice(0, end));
          return node.firstChild === first;
        }""",
        MARKDOWN,
    )
    assert grown is True


def test_the_calculator(page: Page) -> None:
    run = """async (expression) => {
      const { runTool } = await import("./page/tools.js");
      return JSON.parse(runTool({ name: "calculate", arguments: JSON.stringify({ expression }) }));
    }"""
    for text, value in (("23 * 17", 391), ("(2+3)*-4", -20), ("2^3^2", 512), ("10-4-3", 3), ("0.1+0.2", 0.3)):
        assert page.evaluate(run, text) == {"result": value}
    for text in ("", "2 +", "alert(1)", "(1", "1 2"):
        assert "error" in page.evaluate(run, text)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing(site: Site, scheme: str, viewport: dict[str, int]) -> None:
    with open_page(site.browser, site.url, viewport=viewport) as page:  # type: ignore[arg-type]
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        scripted(page, MARKDOWN, (503, json.dumps({"error": {"message": "No."}})))
        tell(page, "Show me", answered=1)
        ask(page, "More")
        expect(page.locator(".failure")).to_be_visible()
        assert found_by_axe(page) == []
        page.click("#settings")
        assert found_by_axe(page) == []
        page.click("#settings-cancel")
        if viewport is PHONE:
            page.get_by_role("button", name="Cluster", exact=True).click()
            expect(page.locator("#workers .worker")).to_have_count(1)
            assert found_by_axe(page) == []


def found_by_axe(page: Page) -> list[tuple[str, object]]:
    violations = Axe().run(page).response["violations"]
    return [(found["id"], [node["target"] for node in found["nodes"]]) for found in violations]


def test_the_panel_goes_grey_when_the_server_is_gone(page: Page) -> None:
    expect(page.locator("#health")).to_have_text("ready")
    page.route("**/health", lambda route: route.abort())
    expect(page.locator("#health")).to_have_text("no connection to the server")
    expect(page.locator("#cluster.gone")).to_be_visible()
    expect(page.locator("#gone")).to_contain_text("This is how it was at")
