"""The report of a bundle, as a notebook shows it."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from compiler.report.files import METRICS, PAGE
from targets.bundle.reader import Bundle
from targets.errors import IntegrityError, UsageError

_HEIGHT: Final = 800


@dataclass(frozen=True, slots=True)
class Report:
    """What a compile found out about a bundle.

    In a notebook it shows itself as the page that is in the bundle, in a frame that runs no script.

    Attributes:
        page: report/report.html.
        metrics: report/metrics.json, whose numbers the page shows.
    """

    page: str
    metrics: Mapping[str, Any]

    @classmethod
    def open(cls, bundle: str | Path) -> Report:
        """The report of a bundle on disk; its hashes are checked.

        Raises:
            UsageError: there is no bundle, or it has no report (exit code 2).
            IntegrityError: files that are not what the manifest says (5).
        """
        opened = Bundle.open(Path(bundle))
        present = {each.path for each in opened.manifest.files}
        if f"report/{PAGE}" not in present:
            raise UsageError(
                f"{bundle} has no report/{PAGE}", "compile it again, with this bertc and without --no-report"
            )
        page, metrics = (opened.read(f"report/{name}") for name in (PAGE, METRICS))
        try:
            return cls(page.decode("utf-8"), json.loads(metrics))
        except ValueError as error:
            raise IntegrityError(
                f"{bundle}: its report cannot be read: {error}", "compile it again"
            ) from error

    def save(self, path: str | Path) -> Path:
        """Write the page to a file, and return its path.

        Raises:
            UsageError: it cannot be written.
        """
        file = Path(path)
        try:
            file.write_text(self.page, encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"cannot write {file}: {error.strerror or error}", "give a place that can be written"
            ) from error
        return file

    def _repr_html_(self) -> str:
        """The page in a frame of its own, so that its style is not the notebook's."""
        source = html.escape(self.page, quote=True)
        return (
            f'<iframe title="bertc report" sandbox srcdoc="{source}" '
            f'style="width:100%;height:{_HEIGHT}px;border:0"></iframe>'
        )
