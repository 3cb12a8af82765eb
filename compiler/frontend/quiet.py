"""Keeps torch and transformers from talking over the command's own progress."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# Exactly these are expected and without consequence; any other warning reaches the user.
_EXPORT_WARNINGS: Final[tuple[tuple[str, type[Warning]], ...]] = (
    (r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning),
    (r"# The axis name: \w+ will not be used", UserWarning),
)
_EXPORT_LOGGERS: Final = ("torch.onnx._internal.exporter._registration",)


@contextmanager
def quiet_export() -> Iterator[None]:
    """Hides what the exporter says of its deprecated calls, of axis names, and of torchvision's absence."""
    loggers = [logging.getLogger(name) for name in _EXPORT_LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message, category in _EXPORT_WARNINGS:
            warnings.filterwarnings("ignore", message=message, category=category)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hides transformers' load report and progress bars: what matters of them becomes an error here."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
