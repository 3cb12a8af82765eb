"""A bar over texts, on a terminal alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def text_progress(*, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """What is called with the texts done and their total; None where nobody watches.

    It needs click alone: a bundle is validated on devices too.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=1, label="texts", file=sys.stderr, show_pos=True) as bar:

        def report(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield report
