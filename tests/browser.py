"""A browser for the page tests: one that is installed, or one that this script installs.

``python tests/browser.py`` makes sure that there is one. It looks for Chromium or Chrome on the
PATH and for Playwright's own; where there is none it takes Debian's package, if it may, and else
asks Playwright to download one.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response

ASSETS = (Path(__file__).parent.parent / "assets").as_uri()
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


TEXT_OUTSIDE = """() => [...document.querySelectorAll('.vitrine-mount svg')].flatMap((svg) => {
  const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter((text) => {
    const own = text.getBoundingClientRect();
    return own.width && (own.left < box.left - 1 || own.right > box.right + 1
      || own.top < box.top - 1 || own.bottom > box.bottom + 1);
  }).map((text) => text.textContent);
})"""
"""Words of the charts that lie outside their drawing."""


HIDDEN = """() => [...document.querySelectorAll('.vitrine-mount svg')].flatMap((svg) => {
  const drawn = '.mark-text.role-mark text:not([opacity="0"]), .mark-image image';
  const marks = [...svg.querySelectorAll(drawn)];
  const boxes = marks.map((mark) => [mark, mark.getBoundingClientRect()]);
  return boxes.flatMap(([mark, one], at) => boxes.slice(0, at).filter(([, other]) =>
    one.left < other.right - 2 && other.left < one.right - 2
    && one.top < other.bottom - 4 && other.top < one.bottom - 4)
    .map(([other]) => `${other.textContent || 'image'} / ${mark.textContent || 'image'}`));
})"""
"""Words and thumbnails of the charts that lie on others, in pairs."""


class Visit:
    """A page in a browser tab, with everything that went wrong on it."""

    def __init__(self, browser: Browser, width: int, **options: Any) -> None:
        size: Any = {"width": width, "height": 900}
        self.context = browser.new_context(viewport=size, **options)
        self.page: Page = self.context.new_page()
        self.troubles: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("requestfailed", self._failed)
        self.page.on("request", lambda asked: self.hosts.add(urlsplit(asked.url).netloc))
        self.page.on("response", self._answered)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(message.text)

    def _failed(self, asked: Request) -> None:
        if asked.failure != "net::ERR_ABORTED":  # of a page that was left before its icon came
            self.troubles.append(f"failed: {asked.url} ({asked.failure})")

    def _answered(self, answer: Response) -> None:
        if answer.status >= 400:
            self.troubles.append(f"{answer.status} {answer.url}")

    def open(self, url: str) -> Page:
        """The page once it is at rest: to leave it before would break off what it asks for."""
        self.page.goto(url, wait_until="networkidle")
        return self.page

    def read(self, url: str) -> Page:
        """The page as soon as it is loaded."""
        self.page.goto(url)
        return self.page

    def scroll(self, url: str) -> Page:
        """The page scrolled to every chart, as a reader does, until all charts and images live."""
        page = self.read(url)
        for chart in page.locator(".vitrine-chart").all():
            chart.scroll_into_view_if_needed()
            chart.locator("svg").first.wait_for()
        page.evaluate("document.querySelectorAll('img').forEach(i => { i.loading = 'eager' })")
        page.wait_for_function("[...document.images].every(image => image.complete)")
        return page


Visits = Callable[..., Visit]


def page_of(body: str) -> str:
    """A page with the given body, as the bundled renderer would wrap it."""
    return (
        '<!DOCTYPE html><html lang="en" class="js"><meta charset="utf-8"><title>Page</title>'
        f'<link rel="stylesheet" href="{ASSETS}/vitrine.css">'
        f'<link rel="stylesheet" href="{ASSETS}/page.css">'
        f'<script src="{ASSETS}/vitrine.js" defer></script>'
        f'<body class="vitrine-page"><main class="page-text">{body}</main></body></html>'
    )


def find_browser() -> str | None:
    """The path of a Chromium that can be started, or ``None``."""
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if own and Path(own).exists() else None


def install_browser() -> None:
    """Install a browser where there is none; what each way says is shown if none works."""
    ways = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if shutil.which("apt-get"):
        as_root = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
        apt = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
        update = [*apt, "update", "-qq"]
        install = [*apt, "install", "-y", "-qq", "--no-install-recommends", "chromium"]
        # Debian first: its package brings the libraries that Playwright's download expects.
        ways = [[*update, "&&", *install], *ways]
    said = []
    for way in ways:
        script = " ".join(part if part == "&&" else shlex.quote(part) for part in way)
        answer = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
        if find_browser():
            return
        said.append(f"$ {script}\n{answer.stdout[-500:]}{answer.stderr[-500:]}")
    print("\n".join(said), file=sys.stderr)
    sys.exit("No browser for the page tests: install Chromium and put it on the PATH")


if __name__ == "__main__":
    if not find_browser():
        print("installing a browser for the page tests")
        install_browser()
