"""A headless Chromium of the system for tests, with what its pages complained about."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.support.needs import Need, require

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ON_A_MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
DESKTOP, PHONE = ViewportSize(width=1360, height=860), ViewportSize(width=390, height=844)


def _find() -> str | None:
    """The system's, or the one that Playwright has downloaded."""
    with sync_playwright() as playwright:
        candidates = (*map(shutil.which, _NAMES), _ON_A_MAC, playwright.chromium.executable_path)
    return next((path for path in candidates if path and Path(path).exists()), None)


CHROMIUM = Need(
    "Chromium", f"{sys.executable} -m playwright install --with-deps chromium", lambda: _find() is not None
)


@contextmanager
def running_browser() -> Iterator[Browser]:
    require(CHROMIUM)
    path = _find()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def open_page(
    browser: Browser, url: str, *, key: str | None = None, viewport: ViewportSize = DESKTOP
) -> Iterator[Page]:
    """The page with a key in its session; fails in the end if its scripts failed or it asked another site."""
    context = browser.new_context(viewport=viewport)
    context.set_default_timeout(60_000)
    if key is not None:
        context.add_init_script(f"sessionStorage.setItem('jangtq-key', '{key}')")
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.extend([line.text] if "Content Security" in line.text else []))
    page.on(
        "request",
        lambda asked: complaints.extend([] if asked.url.startswith((url, "data:")) else [asked.url]),
    )
    page.goto(url)
    yield page
    context.close()
    assert complaints == []
