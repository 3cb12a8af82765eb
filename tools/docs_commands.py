"""Runs the shell commands that the README, the tutorials and the examples show, and prints what came of each.

python -m tools.docs_commands [PAGE ...] [--model DIR --train FILE --eval FILE]

Each page runs from its top in a folder of its own; tools/docs/substitutions.py has what placeholders stand
for, and which commands do not run and why. Without --model the checkpoint is a tiny one of random weights,
for which the accuracy gate is wide open. A command fails that ends with another exit code than its page says:
0, or N after `# exits with N`. One with `# on the device` runs where its bundle is for this machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.support.data import write_task_data
from tests.support.models import make_checkpoint
from tools.docs.running import ROOT, Inputs, Outcome, run_page

TASK = "text-classification"
OTHER_TASKS = {
    "docs/examples/pi-semantic-search/README.md": "feature-extraction",
    "docs/examples/entity-tagging/README.md": "token-classification",
}
"""Pages whose checkpoint is for another task; theirs is always a tiny one."""


def pages() -> list[Path]:
    """The pages whose commands run."""
    docs = ROOT / "docs"
    return [
        ROOT / "README.md",
        *sorted((docs / "tutorials").glob("*.md")),
        *sorted((docs / "examples").glob("*/README.md")),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE", help="default: all of them")
    parser.add_argument("--model", type=Path, metavar="DIR", help="a text classifier")
    parser.add_argument("--train", type=Path, metavar="FILE", help=".tsv or .jsonl, to calibrate on")
    parser.add_argument(
        "--eval", type=Path, metavar="FILE", dest="evaluation", help="the same, to validate on"
    )
    options = parser.parse_args(argv)
    given = (options.model, options.train, options.evaluation)
    if any(given) and not all(given):
        parser.error("--model, --train and --eval go together")
    with tempfile.TemporaryDirectory(prefix="bertc-docs-") as name:
        folder = Path(name)
        inputs = Inputs(*(each.resolve() for each in given)) if all(given) else tiny(folder / "tiny", TASK)
        outcomes = []
        for index, page in enumerate(options.pages or pages()):
            task = OTHER_TASKS.get(relative(page))
            own = inputs if task is None else tiny(folder / task, task)
            outcomes += [shown(each) for each in run_page(page.resolve(), own, folder / str(index))]
    return summary(outcomes)


def relative(page: Path) -> str:
    """The page's path within the repository."""
    path = page.resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def tiny(folder: Path, task: str) -> Inputs:
    """A checkpoint of random weights and data for it."""
    pooled = {"pooling": "mean", "normalize": True} if task == "feature-extraction" else {}
    model = make_checkpoint(folder / "model", "minilm", task, **pooled)
    train = write_task_data(folder, task, count=400)
    return Inputs(model, train, write_task_data(folder, task, seed=1, count=100), max_drop="1")


def shown(each: Outcome) -> Outcome:
    print(f"{each.page}:{each.line:<4} {each.status:<7} {each.text}", flush=True)
    print(f"{'':8}{each.note}", flush=True)
    return each


def summary(outcomes: Sequence[Outcome]) -> int:
    """Prints how many commands of each page ran, were skipped and failed; 1 if any failed."""
    print(f"\n{'page':<36} {'ran':>7} {'skipped':>7} {'failed':>7}")
    for page in dict.fromkeys(each.page for each in outcomes):
        counts = Counter(each.status for each in outcomes if each.page == page)
        print(f"{page:<36} {counts['ran']:>7} {counts['skipped']:>7} {counts['failed']:>7}")
    failed = [each for each in outcomes if each.status == "failed"]
    for each in failed:
        print(f"error: {each.page}:{each.line}: {each.text}\n  {each.note}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
