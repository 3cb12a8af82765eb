"""Options that the host's commands share, in groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from compiler.cli.sections import name_section
from compiler.options import (
    DEFAULT_EMULATED_SAMPLES,
    DEFAULT_MAX_DROP,
    DEFAULT_PRUNE_SAMPLES,
    DEFAULT_SAMPLES,
    KINDS,
    PRECISION_CHOICES,
)
from targets.cli.completing import among, complete_files, complete_targets
from targets.spec import RUNTIMES, TASKS

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]


def folder(*names: str, **settings: Any) -> Decorator[Any]:
    """An option that takes the path of a folder."""
    return click.option(*names, type=click.Path(path_type=Path), **settings)


def verbose_option(function: Command) -> Command:
    """Adds whether to say more."""
    return _together(
        function,
        click.option(
            "--verbose",
            "-v",
            is_flag=True,
            help="Say what each pass and choice came to as well; nothing with --json.",
        ),
    )


def column_options(function: Command) -> Command:
    """Adds the names of the columns."""
    return _together(
        function,
        click.option("--text-column", help="Column of the text."),
        click.option("--text-pair-column", help="Column of the second text of a pair."),
        click.option("--label-column", help="Column of the label, tags, answers or score."),
        section="Columns of the data",
    )


def target_options(function: Command) -> Command:
    """Adds what to build and where to put it."""
    return _together(
        function,
        folder(
            "--config",
            metavar="FILE",
            help="Take options, and MODEL, from a TOML file (`bertc config init`); flags override it.",
        ),
        folder(
            "--from-manifest",
            metavar="BUNDLE",
            help="Compile a bundle again from its own record, bundle.json or the folder it is in, and say "
            "whether the same bytes come out. MODEL may be left out if it is of the hub.",
        ),
        click.option(
            "--target",
            "-t",
            "targets",
            multiple=True,
            metavar="ID",
            shell_complete=complete_targets,
            help="Device: an id of `bertc targets`, a TOML file, or native (the default). Repeatable.",
        ),
        folder(
            "--output", "-o", default=Path(), help="Folder that receives NAME-TARGET.bundle.  [default: here]"
        ),
        click.option("--name", help="Name of the bundle.  [default: the model's]"),
        click.option(
            "--runtime",
            type=click.Choice(["auto", *RUNTIMES]),
            default="auto",
            show_default=True,
            help="auto builds for each installed one and keeps the faster.",
        ),
        click.option(
            "--precision",
            type=click.Choice(PRECISION_CHOICES),
            default="int8",
            show_default=True,
            help="int8 is static and needs --calibration-data; auto is int8 that leaves as little in float "
            "as --max-drop and --min-agreement allow on texts held out of it.",
        ),
        section="What to build",
    )


def accuracy_options(function: Command) -> Command:
    """Adds calibration, evaluation and the gate."""
    return _together(
        function,
        click.option(
            "--calibration-data",
            metavar="FILE",
            shell_complete=complete_files,
            help="Text to calibrate on: .jsonl .csv .tsv .txt .parquet, or a `datasets` name.",
        ),
        click.option(
            "--calibration-samples",
            type=int,
            default=DEFAULT_SAMPLES,
            show_default=True,
            help="Texts drawn from it.",
        ),
        click.option(
            "--eval-data",
            metavar="FILE",
            shell_complete=complete_files,
            help="Text to validate the compiled model on, with or without labels.",
        ),
        click.option("--eval-samples", type=int, help="Texts drawn from it.  [default: all]"),
        click.option(
            "--validate-emulated",
            is_flag=True,
            help="Also run the bundle in the device's own runtime under emulation (`bertc emulator setup`).",
        ),
        click.option(
            "--emulated-samples",
            type=int,
            default=DEFAULT_EMULATED_SAMPLES,
            show_default=True,
            help="Texts of --eval-data that are run there.",
        ),
        click.option(
            "--max-drop",
            type=float,
            default=DEFAULT_MAX_DROP,
            show_default=True,
            help="Largest loss of the task's metric, absolute; more is exit code 4.",
        ),
        click.option(
            "--min-agreement",
            type=float,
            help="Least agreement with the FP32 model (0.995 is 99.5%); less is exit code 4.  [default: any]",
        ),
        section="Data and accuracy",
    )


def model_options(function: Command) -> Command:
    """Adds what the checkpoint leaves open."""
    return _together(
        function,
        click.option(
            "--task",
            shell_complete=among(*TASKS),
            help="Task, where the checkpoint's architecture does not say it.",
        ),
        click.option("--revision", help="Branch, tag or commit of a hub id."),
        click.option(
            "--max-length",
            type=int,
            help="Longest text in tokens.  [default: the tokenizer's or the model's]",
        ),
        section="The checkpoint",
    )


def tuning_options(function: Command) -> Command:
    """Adds how to quantize."""
    return _together(
        function,
        click.option(
            "--ranges",
            shell_complete=among("auto", "minmax", "mse", "entropy", "percentile-99.99"),
            default="auto",
            show_default=True,
            help="Activation ranges: auto (by the error of the layer's output), minmax, mse, entropy, "
            "percentile-P.",
        ),
        click.option(
            "--smooth/--no-smooth",
            default=True,
            show_default=True,
            help="Move outlying channels into the weights (SmoothQuant).",
        ),
        click.option("--seed", type=int, default=0, show_default=True, help="Of every random choice."),
        click.option(
            "--threads",
            type=int,
            default=0,
            help="Threads to compile and measure with; 0, the default, is every core.",
        ),
        section="Quantization",
    )


def pruning_options(function: Command) -> Command:
    """Adds what to cut."""
    return _together(
        function,
        click.option(
            "--prune-flops",
            type=float,
            metavar="F",
            help="Cut heads and neurons until this share of the encoder's FLOPs is left: 0.67 is 1.5x fewer.",
        ),
        click.option(
            "--prune-speedup",
            type=float,
            metavar="X",
            help="Cut until it is X times as fast as the dense model in the same precision, by times "
            "measured in the target's own runtime.",
        ),
        click.option(
            "--prune",
            type=click.Choice(["auto"]),
            help="auto cuts as much as --max-drop allows on texts held out of --calibration-data.",
        ),
        click.option(
            "--prune-shape",
            callback=_shape,
            default="1x128",
            show_default=True,
            metavar="BATCHxTOKENS",
            help="Shape that --prune-speedup and --prune auto measure.",
        ),
        click.option(
            "--prune-targets",
            shell_complete=among(*KINDS, ",".join(KINDS)),
            callback=lambda _context, _option, value: tuple(value.split(",")),
            default=",".join(KINDS),
            show_default=True,
            metavar="KINDS",
            help="What may be cut.",
        ),
        click.option(
            "--prune-align",
            type=int,
            default=64,
            show_default=True,
            help="Leave feed-forward networks in multiples of so many neurons.",
        ),
        click.option(
            "--prune-samples",
            type=int,
            default=DEFAULT_PRUNE_SAMPLES,
            show_default=True,
            help="Texts drawn from --calibration-data to prune by.",
        ),
        section="Pruning",
    )


def output_options(function: Command) -> Command:
    """Adds what to write besides the bundle, and how to report."""
    return _together(
        function,
        folder("--dump-ir", metavar="DIR", help="Write the graph as text after every pass."),
        click.option(
            "--sign-key",
            metavar="KEY",
            type=click.Path(path_type=Path),
            help="Sign the bundle with this private Ed25519 key (`bertc keygen`).",
        ),
        click.option(
            "--report/--no-report",
            default=True,
            show_default=True,
            help="Write report.html, and measure what it shows (latency against FP32, every runtime).",
        ),
        click.option(
            "--dry-run",
            is_flag=True,
            help="Read the model and the data, say what would be done, how long it takes and how large the "
            "bundle would be, and write nothing.",
        ),
        click.option("--keep-debug", is_flag=True, help="Write ranges and decisions to NAME-TARGET.debug/."),
        click.option("--force", is_flag=True, help="Replace a bundle that is there."),
        verbose_option,
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document and no progress."),
        section="Output",
    )


def _shape(_context: click.Context, _option: click.Parameter, value: str) -> tuple[int, int]:
    batch, _, tokens = value.partition("x")
    if not (batch.isdecimal() and tokens.isdecimal()):
        raise click.BadParameter(f"{value!r} is not BATCHxTOKENS, as in 1x128")
    return int(batch), int(tokens)


def _together(function: Command, *decorators: Decorator[Any], section: str | None = None) -> Command:
    """Adds options in the order given, below a heading of the help where there is one."""
    params: list[click.Parameter] = getattr(function, "__click_params__", [])
    before = len(params)
    ordered: Sequence[Decorator[Any]] = decorators[::-1]
    for decorate in ordered:
        function = decorate(function)
    if section is not None:
        name_section(getattr(function, "__click_params__", [])[before:], section)
    return function
