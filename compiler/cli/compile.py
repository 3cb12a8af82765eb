"""`bertc compile`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from compiler.cli.host import require_host
from compiler.cli.options import (
    accuracy_options,
    column_options,
    model_options,
    output_options,
    pruning_options,
    target_options,
    tuning_options,
)
from targets.cli.options import print_json


@click.command("compile", short_help="Compile a checkpoint for a device.")
@click.argument("model")
@target_options
@accuracy_options
@column_options
@model_options
@pruning_options
@tuning_options
@output_options
def compile_command(
    model: str, targets: tuple[str, ...], output: Path, as_json: bool, **options: Any
) -> None:
    """Compile MODEL (a Hugging Face folder, a hub id or an .onnx file) for a device.

    The compiled artifact is validated against the checkpoint in FP32, in the runtime that ships; a model
    that loses more than --max-drop is not written.
    """
    require_host()
    from compiler.cli.console import console_progress, print_summary
    from compiler.compile import compile_model

    with console_progress(quiet=as_json) as progress:
        result = compile_model(model, output, target=targets or ("native",), progress=progress, **options)
    if as_json:
        print_json(result.to_json())
    else:
        print_summary(result)
