"""What `tools.client_answers` found, as tables and as docs/clients.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tools.bench_report import table
from tools.clients.compare import TOLERANCE, Compared

SNIPPETS: Final = Path(__file__).resolve().parent / "snippets"
TEMPLATE: Final = Path(__file__).resolve().parent / "page.md"
_HEADS: Final[Mapping[str, str]] = {
    "tokenizer": "AutoTokenizer",
    "alone_onnxruntime": "onnxruntime alone",
    "alone_openvino": "OpenVINO alone",
    "optimum_onnxruntime": "ORTModel",
    "optimum_openvino": "OVModel",
    "optimum_openvino defaults": "OVModel, no options",
    "pipeline_onnxruntime": "pipeline: score",
    "pipeline_openvino": "pipeline: score",
    "sentences_onnxruntime": "SentenceTransformer",
    "sentences_openvino": "SentenceTransformer",
    "sentences_onnxruntime batch": "all texts at once",
    "sentences_openvino batch": "all texts at once",
}

Found = Sequence[tuple[Mapping[str, str], Sequence[Compared]]]


def tables(rows: Sequence[Compared]) -> str:
    """A table for each runtime: models down, clients across."""
    runtimes = sorted({row.bundle.rpartition("|")[2] for row in rows})
    return "\n\n".join(
        _table(runtime, [row for row in rows if row.bundle.endswith(f"|{runtime}")]) for runtime in runtimes
    )


def packages(versions: Mapping[str, str]) -> str:
    """Names and versions in one line, without the name of a build."""
    return ", ".join(f"{name} {version.partition('+')[0]}" for name, version in versions.items())


def page(found: Found) -> str:
    """docs/clients.md: page.md with the snippets and tables in their places."""
    text = TEMPLATE.read_text("utf-8")
    for file in sorted(SNIPPETS.glob("*.py")):
        text = text.replace(f"{{{file.stem}}}", f"```python\n{file.read_text('utf-8').rstrip()}\n```")
    text = text.replace("{tolerance}", f"{TOLERANCE:g}")
    return text.replace("{tables}", "\n\n".join(map(_environment, found)))


def _environment(found: tuple[Mapping[str, str], Sequence[Compared]]) -> str:
    versions, rows = found
    return f"With {packages(versions)}:\n\n{tables(rows)}"


def _table(runtime: str, rows: Sequence[Compared]) -> str:
    clients = list(dict.fromkeys(row.client for row in rows))
    models = list(dict.fromkeys(row.bundle.rpartition("|")[0] for row in rows))
    cells = {(row.bundle.rpartition("|")[0], row.client): row.cell for row in rows}
    lines = [[f"on {runtime}", *(_HEADS[client] for client in clients)]]
    lines += [[model, *(cells.get((model, client), "") for client in clients)] for model in models]
    return table(lines)
