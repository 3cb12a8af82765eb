"""A real browser, headless, for tests of pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Opened:
    """A page, and what it did.

    Attributes:
        page: playwright's.
        errors: what it wrote to the console as an error or a warning, and what it did not catch.
        requests: addresses that it asked for.
        dialogs: what it said in dialogs.
    """

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


@contextmanager
def browser() -> Iterator[Any]:
    """The machine's Chromium, or playwright's own.

    Skips the test where there is none, or fails it where BERTC_REQUIRE_BROWSER is set.
    """
    from playwright.sync_api import Error, sync_playwright

    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    with sync_playwright() as playwright:
        try:
            running = playwright.chromium.launch(executable_path=found, args=list(_OPTIONS))
        except Error as error:
            reason = f"needs Chromium (`make browser` installs it): {error.message.splitlines()[0]}"
            if os.environ.get("BERTC_REQUIRE_BROWSER"):
                pytest.fail(reason)
            pytest.skip(reason)
        try:
            yield running
        finally:
            running.close()


@contextmanager
def opened(running: Any, path: Path, *, width: int = 1280, dark: bool = False) -> Iterator[Opened]:
    """A file in a window so wide, with everything unfolded that it folds away."""
    context = running.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    try:
        result = Opened(context.new_page())
        page = result.page
        page.on("console", lambda said: said.type in ("error", "warning") and result.errors.append(said.text))
        page.on("pageerror", lambda error: result.errors.append(str(error)))
        page.on("request", lambda request: result.requests.append(request.url))
        page.on("dialog", lambda dialog: (result.dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        yield result
    finally:
        context.close()
