"""`python -m tools.soak`: whether the memory of a bundle's session stays flat over many texts."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from targets.bundle.reader import Bundle
from targets.bundle.schema import TOKENIZER_PATH
from targets.cli_errors import main_guard
from targets.errors import UsageError
from targets.runtime.items import TextItem
from tools.soak_report import document, environment, page, result_of
from tools.soak_run import Sample, soak_command, soak_session
from tools.soak_texts import made_texts, read_words

LEAST_SAMPLES: Final = 8
_PATH: Final = click.Path(path_type=Path)


@click.command("tools.soak", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle", type=_PATH)
@click.option("--file", "file", type=_PATH, required=True, help="A text file whose words the texts are of.")
@click.option("--texts", type=click.IntRange(min=1), default=200_000, show_default=True, help="How many.")
@click.option(
    "--every",
    type=click.IntRange(1, 100_000),
    default=5000,
    show_default=True,
    help="Texts from sample to sample.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the texts.")
@click.option("--threads", type=click.IntRange(min=0), help="As of `bertc run`.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every sample.")
def soak_tool(
    bundle: Path, file: Path, texts: int, every: int, seed: int, threads: int | None, as_json: bool
) -> None:
    """Stream many short texts through a bundle, as a library and as a command, and watch the memory.

    Ends with 1 where memory is not flat.
    """
    if texts < LEAST_SAMPLES * every:
        raise UsageError(
            f"{texts} texts, and a sample every {every}", f"take {LEAST_SAMPLES} samples at least"
        )
    opened = Bundle.open(bundle)
    words = read_words(file)
    mask = _mask(opened)

    def given() -> Iterator[TextItem]:
        return made_texts(words, opened.manifest.task, texts, seed, mask)

    soaks = [run(opened, given(), every, threads, _watch) for run in (soak_session, soak_command)]
    results = [result_of(each) for each in soaks]
    where = environment(shlex.join(["python", "-m", "tools.soak", *sys.argv[1:]]))
    runtime = opened.manifest.runtime
    name = f"{opened.manifest.name}, {runtime.precision} on {runtime.backend}"
    click.echo(document(where, name, soaks, results) if as_json else page(where, name, results), nl=as_json)
    if not all(each.flat for each in results):
        click.get_current_context().exit(1)


def _mask(bundle: Bundle) -> str | None:
    token = bundle.manifest.tokenizer.mask_token_id
    if bundle.manifest.task != "fill-mask" or token is None:
        return None
    from tokenizers import Tokenizer

    return str(Tokenizer.from_str(bundle.read(TOKENIZER_PATH).decode()).id_to_token(token))


def _watch(how: str, sample: Sample) -> None:
    if sys.stderr.isatty():
        memory = f"{sample.rss / (1 << 20):.1f} MiB"
        click.echo(f"\r\x1b[K{how}: {sample.texts} texts, {memory}", err=True, nl=False)


if __name__ == "__main__":
    sys.exit(main_guard(soak_tool, prog_name="tools.soak"))
