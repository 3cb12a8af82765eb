"""The page of a report."""

from compiler.report.page.render import render

__all__ = ["render"]
