"""report/report.html: one file that asks for nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from compiler.report.facts import Facts
from compiler.report.page import glance, made, measured, record, words
from compiler.report.page.drawing import drawing

if TYPE_CHECKING:
    from jinja2 import Environment

_SECTIONS: Final = (
    measured.tried,
    record.accuracy,
    measured.latency,
    measured.noise,
    made.placement,
    made.size,
    made.structure,
    measured.lengths,
    record.options,
    record.warnings,
)
_TITLE: Final = 120
_FOLDED: Final = 12
"""Tables of more rows are folded away."""


def render(facts: Facts) -> bytes:
    """The page, UTF-8; equal facts give equal bytes."""
    with drawing():
        sections = [each(facts) for each in _SECTIONS]
    manifest = facts.manifest
    environment = _environment()
    page = environment.get_template("page.html.j2").render(
        name=words.shorten(manifest.name, _TITLE),
        task=manifest.task,
        target=manifest.target.id,
        runtime=glance.RUNTIMES[manifest.runtime.backend],
        device=manifest.runtime.device,
        precision=glance.PRECISIONS[manifest.runtime.precision],
        labels=len(manifest.task_config.labels),
        verdict=glance.verdict(facts.validation),
        cards=glance.cards(facts),
        sections=sections,
        folded=_FOLDED,
    )
    return page.encode("utf-8")


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("compiler.report.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _finalize(value: Any) -> Any:
    """No expression of the template puts out a character that a page must not have."""
    return words.clean(value) if type(value) is str else value
