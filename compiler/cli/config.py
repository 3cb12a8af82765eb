"""`bertc config`, and what a compile takes from bertc.toml."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from targets.cli.options import print_json, print_text
from targets.cli_errors import print_warning
from targets.errors import UsageError

_FIRST: Final = ("model", "target", "calibration-data", "eval-data")
_BUDGETS: Final = ("prune-flops", "prune-speedup", "prune")
_WIDTH: Final = 100
_HEAD: Final = """\
# Options of `bertc compile --config FILE`; each key is a flag, and a flag that is given overrides its key.
# What is commented out here has the default that is shown, or none where the value is an example.
# Relative paths are taken from the folder of this file.
"""
_ARGUMENT: Final = "Hugging Face folder, hub id or .onnx file to compile (the argument MODEL)."
_EXAMPLES: Final[dict[str, Any]] = {
    "model": "path/to/checkpoint",
    "output": "out",
    "name": "classifier",
    "calibration-data": "train.jsonl",
    "eval-data": "dev.jsonl",
    "eval-samples": 1000,
    "text-column": "text",
    "text-pair-column": "text_pair",
    "label-column": "label",
    "min-agreement": 0.995,
    "task": "text-classification",
    "revision": "main",
    "max-length": 128,
    "prune-flops": 0.67,
    "prune-speedup": 1.5,
    "prune": "auto",
    "dump-ir": "ir",
    "sign-key": "deploy",
}
"""Values to show for keys without a default."""


@click.group("config", short_help="Write a file of options for `bertc compile --config`.")
def config_command() -> None:
    """Keep the options of a compile in a file, bertc.toml, that `bertc compile --config` reads."""


@config_command.command("init")
@click.argument("path", type=click.Path(path_type=Path), default="bertc.toml")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def init_command(path: Path, force: bool, as_json: bool) -> None:
    """Write PATH, bertc.toml by default, with every key, what it means and its default, commented out."""
    text = config_text()
    try:
        with path.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise UsageError(f"{path} is there already", "pass --force to replace it, or another path") from error
    if as_json:
        print_json({"path": str(path)})
    else:
        print_text(f"{path}: remove the # before what you set, then: bertc compile --config {path}")


def config_text() -> str:
    """A file of every key with its help and its default, all of them commented out."""
    return "\n".join([_HEAD, *(line for entry in _entries() for line in (*entry, ""))]).rstrip("\n") + "\n"


def _entries() -> Iterator[list[str]]:
    from compiler.cli.compile import compile_command
    from compiler.config import config_keys

    known = {_key(each): each for each in compile_command.params}
    keys = [key for key in known if key in config_keys()]
    for key in (*_FIRST, *(key for key in keys if key not in _FIRST)):
        option = known[key]
        words = option.help if isinstance(option, click.Option) else _ARGUMENT
        lines = textwrap.wrap(" ".join((words or "").split()), _WIDTH, break_on_hyphens=False)
        default, example = _default(key), _EXAMPLES.get(key)
        shown = f"#{key} = {_toml(example if default is None else default)}"
        yield [*(f"# {line}" for line in lines), shown + ("  # an example" if default is None else "")]


def _key(option: click.Parameter) -> str:
    """The key of a flag: its long name, as in `prune-flops`."""
    return max(option.opts, key=len).removeprefix("--")


def _default(key: str) -> Any:
    from compiler.config import config_keys
    from compiler.options import CompileOptions

    special = {"model": None, "target": "native", "output": None}
    return special[key] if key in special else getattr(CompileOptions(), config_keys()[key])


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        whole = all(isinstance(each, int) for each in value)
        return json.dumps("x".join(map(str, value)) if whole else list(value))
    return json.dumps(value)


def from_config(context: click.Context, path: Path) -> dict[str, Any]:
    """What a file says of a compile where the command line says nothing.

    A budget of pruning on the command line also stands for the file's: they are one choice.

    Args:
        context: of `bertc compile`.
        path: of the file.

    Returns:
        Keyword arguments of `compile_model`.

    Raises:
        UsageError: as `read_config`.
    """
    from compiler.config import read_config

    config: dict[str, Any] = {**read_config(path)}
    given = {_key(each) for each in context.command.params if _is_given(context, each)}
    left = {name: value for name, value in config.items() if name.replace("_", "-") not in given}
    asked = [key for key in _BUDGETS if key in given]
    named = [key for key in _BUDGETS if key.replace("-", "_") in left]
    if len(named) > 1 and not asked:
        raise UsageError(f"{path}: {' and '.join(named)} are {len(named)} budgets", "leave one of them")
    for key in named if asked else ():
        print_warning(f"--{asked[0]} takes the place of {key} of {path}: one budget cuts, not both")
        del left[key.replace("-", "_")]
    return left


def _is_given(context: click.Context, option: click.Parameter) -> bool:
    source = context.get_parameter_source(str(option.name))
    return source not in (None, click.core.ParameterSource.DEFAULT)
