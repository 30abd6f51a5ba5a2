"""A browser for the page tests: one that is installed, or one that this script installs.

``python tests/browser.py`` makes sure that there is one. It looks for Chromium or Chrome on the
PATH and for Playwright's own; where there is none it takes Debian's package, if it may, and else
asks Playwright to download one.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

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
