"""The browser of the tests: the system's Chromium if there is one, else the one that Playwright downloads."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HOW_TO_GET_ONE = (
    "there is no Chromium to test in: install the system's (Debian: apt-get install chromium), "
    "or Playwright's own (python -m playwright install chromium)"
)
FLAGS = [
    "--no-sandbox",  # the tests may run as root, and see no page but the server's
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=en-US",
]


def find(playwright: Playwright) -> Path | None:
    """The executable, or None where there is neither."""
    installed = [found for name in NAMES if (found := shutil.which(name))]
    candidates = [Path(path) for path in [*installed, playwright.chromium.executable_path]]
    return next((path for path in candidates if path.is_file()), None)


def launch(playwright: Playwright, executable: Path) -> Browser:
    return playwright.chromium.launch(executable_path=executable, args=FLAGS)
