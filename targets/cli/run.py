"""`bertc run`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from targets.cli.options import BundleArgument, bundle_options, print_json, print_text, threads_option
from targets.cli_errors import print_warning
from targets.errors import UsageError

if TYPE_CHECKING:
    from targets.runtime.items import TextItem
    from targets.runtime.session import Session
    from targets.runtime.settings import Objective
    from targets.runtime.tasks import Prediction

_CHUNK = 1024


@click.command("run")
@bundle_options
@click.option("--text", "texts", multiple=True, help="A text; may be repeated.")
@click.option(
    "--text-pair", "pairs", multiple=True, help="The second text of each --text: a hypothesis, a context."
)
@click.option("--file", "file", metavar="FILE", help="One text a line, or .jsonl; - for stdin.")
@click.option("--jsonl", is_flag=True, help="Read --file or stdin as JSON lines with text and text_pair.")
@click.option(
    "--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Fill-mask candidates."
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Least score of a label where a text may have several.",
)
@click.option(
    "--cache", is_flag=True, help="Keep what OpenVINO compiles in your cache folder: starts sooner."
)
@click.option("--cuda-graphs", is_flag=True, help="Run single texts as CUDA graphs, on a GPU.")
@click.option("--build", is_flag=True, help="Build TensorRT's engine first where it is not there yet.")
@threads_option
def run_command(
    bundle: BundleArgument,
    as_json: bool,
    texts: tuple[str, ...],
    pairs: tuple[str, ...],
    file: str | None,
    jsonl: bool,
    top_k: int,
    threshold: float,
    cache: bool,
    cuda_graphs: bool,
    build: bool,
    threads: int | None,
) -> None:
    """Predict for texts given by --text, in a file, or on stdin.

    Prints one line for each text of --text, and JSON lines with --json or for a file or stdin.
    """
    from targets.cli.texts import texts_of_file, texts_of_options

    if (texts or pairs) and (file or jsonl):
        raise UsageError("texts come from --text and from a file", "give one of --text and --file")
    given = bool(texts or pairs)
    items: Iterable[TextItem] = texts_of_options(texts, pairs) if given else texts_of_file(file, jsonl)
    objective: Objective = "latency" if given else "throughput"
    opened = bundle.open()
    with opened.session(
        threads=threads, objective=objective, cache=cache, cuda_graphs=cuda_graphs, build=build
    ) as session:
        for chunk in _chunks(items):
            predictions = session.predict(chunk, top_k=top_k, threshold=threshold)
            _print(chunk, predictions, as_json or not given)
        _warn_truncated(session)


def _chunks(items: Iterable[TextItem]) -> Iterator[list[TextItem]]:
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _print(items: list[TextItem], predictions: list[Prediction], as_json: bool) -> None:
    from targets.cli.describe import describe

    for item, prediction in zip(items, predictions, strict=True):
        if as_json:
            print_json(json_row(item, prediction), compact=True)
        else:
            print_text(describe(item, prediction))


def json_row(item: TextItem, prediction: Prediction) -> dict[str, Any]:
    """The line of a text: `text`, `text_pair` for a pair, and the prediction's fields."""
    texts = {"text": item} if isinstance(item, str) else {"text": item[0], "text_pair": item[1]}
    return {**texts, **prediction.to_dict()}


def _warn_truncated(session: Session) -> None:
    count = session.truncated
    if count:
        texts = "1 text is" if count == 1 else f"{count} texts are"
        print_warning(
            f"{texts} longer than the {session.encoder.max_length} tokens that the model reads: "
            f"{session.truncated_tokens} tokens were left out"
        )
