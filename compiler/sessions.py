"""Sessions for measuring a model on the host."""

from __future__ import annotations

from typing import Final

from targets.bundle.reader import Bundle
from targets.bundle.schema import TaskConfig
from targets.runtime.backends.base import Backend
from targets.runtime.session import Session
from targets.runtime.settings import DYNAMIC, RunSettings
from targets.runtime.tokenize import TextEncoder

FILL_MASK_BATCH: Final = 4
"""Texts of one run of fill-mask: its output has the vocabulary's size for every token."""


def open_session(backend: Backend, encoder: TextEncoder, task: str, config: TaskConfig) -> Session:
    """A session over a backend that this process made."""
    return Session(backend, encoder, task, config, batch_size=batch_size(task))


def open_bundle_session(bundle: Bundle, *, threads: int = 0) -> Session:
    """A session over a bundle as it was compiled, whatever it was tuned to."""
    settings = RunSettings(threads=threads, shapes=DYNAMIC)
    return Session.from_bundle(bundle, settings=settings, batch_size=batch_size(bundle.manifest.task))


def batch_size(task: str) -> int | None:
    """Texts of one run; None lets their lengths decide."""
    return FILL_MASK_BATCH if task == "fill-mask" else None
