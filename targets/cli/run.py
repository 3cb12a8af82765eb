"""`bertc run`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from targets.cli.completing import complete_files
from targets.cli.options import BundleArgument, bundle_options, print_text, threads_option
from targets.cli_errors import print_warning
from targets.errors import BertcError, FailedRunError, UsageError
from targets.runtime.limits import MAX_TOP_K

if TYPE_CHECKING:
    from targets.runtime.items import TextItem
    from targets.runtime.session import Session
    from targets.runtime.settings import Objective
    from targets.runtime.tasks import Prediction

    Answer: TypeAlias = Callable[[list[TextItem]], list[Prediction]]


@click.command("run")
@bundle_options
@click.option("--text", "texts", multiple=True, help="A text; may be repeated.")
@click.option(
    "--text-pair", "pairs", multiple=True, help="The second text of each --text: a hypothesis, a context."
)
@click.option(
    "--file",
    "file",
    metavar="FILE",
    shell_complete=complete_files,
    help="One text a line, or .jsonl; - for stdin.",
)
@click.option("--jsonl", is_flag=True, help="Read --file or stdin as JSON lines with text and text_pair.")
@click.option(
    "--top-k", type=click.IntRange(1, MAX_TOP_K), default=5, show_default=True, help="Fill-mask candidates."
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

    Prints one line for each text of --text, and JSON lines with --json or for a file or stdin. At a line that
    cannot be read it ends with an error, after the answers to those before.
    """
    from targets.cli.texts import texts_of_file, texts_of_options

    if (texts or pairs) and (file or jsonl):
        raise UsageError("texts come from --text and from a file", "give one of --text and --file")
    given = bool(texts or pairs)
    items = enumerate(texts_of_options(texts, pairs), 1) if given else texts_of_file(file, jsonl)
    objective: Objective = "latency" if given else "throughput"
    opened = bundle.open()
    with opened.session(
        threads=threads, objective=objective, cache=cache, cuda_graphs=cuda_graphs, build=build
    ) as session:
        asked = _Asked(items, session.task, "text" if given else "line")
        answer = partial(session.predict, top_k=top_k, threshold=threshold)
        _print(asked.answers(answer), as_json or not given)
        _warn_truncated(session)
        if asked.error is not None:
            raise asked.error


class _Asked:
    """Numbered texts, as far as they can be read and answered.

    Attributes:
        error: what ended them; None if nothing did.
    """

    def __init__(self, items: Iterable[tuple[int, TextItem]], task: str, kind: str) -> None:
        self._items, self._task, self._kind = items, task, kind
        self.error: BertcError | OSError | None = None

    def answers(self, answer: Answer) -> Iterator[tuple[TextItem, Prediction]]:
        """Each text with its answer, in order, up to the first error."""
        from targets.runtime.items import chunks

        numbers: deque[int] = deque()
        for chunk in chunks(self._read(numbers)):
            own = [numbers.popleft() for _ in chunk]
            try:
                found = answer(chunk)
            except (UsageError, FailedRunError):
                yield from self._one_by_one(own, chunk, answer)
                if self.error is not None:
                    return
            else:
                yield from zip(chunk, found, strict=True)

    def _read(self, numbers: deque[int]) -> Iterator[TextItem]:
        from targets.runtime.items import check_task_item

        try:
            for number, item in self._items:
                check_task_item(self._task, f"{self._kind} {number}", item)
                numbers.append(number)
                yield item
        except (BertcError, OSError) as error:
            self.error = error

    def _one_by_one(
        self, numbers: list[int], chunk: list[TextItem], answer: Answer
    ) -> Iterator[tuple[TextItem, Prediction]]:
        """Answers what comes before the text that cannot be answered."""
        for number, item in zip(numbers, chunk, strict=True):
            try:
                (found,) = answer([item])
            except BertcError as error:
                message = error.message.replace("text 1", "the text", 1)
                self.error = type(error)(f"{self._kind} {number}: {message}", error.hint)
                return
            yield item, found


def _print(answers: Iterable[tuple[TextItem, Prediction]], as_json: bool) -> None:
    from targets.cli.describe import describe, json_line

    for item, prediction in answers:
        print_text(json_line(json_row(item, prediction)) if as_json else describe(item, prediction))


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
