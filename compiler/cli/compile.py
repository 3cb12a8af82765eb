"""`bertc compile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compiler.cli.config import from_config
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
from compiler.cli.sections import SectionedCommand
from targets.cli.completing import complete_files
from targets.cli.options import print_json, print_text
from targets.errors import UsageError

if TYPE_CHECKING:
    from compiler.dry_run import CompilePlan
    from compiler.result import CompileResult


@click.command("compile", cls=SectionedCommand, short_help="Compile a checkpoint for a device.")
@click.argument("model", required=False, shell_complete=complete_files)
@target_options
@accuracy_options
@column_options
@model_options
@pruning_options
@tuning_options
@output_options
@click.pass_context
def compile_command(
    context: click.Context,
    /,
    model: str | None,
    targets: tuple[str, ...],
    output: Path,
    as_json: bool,
    from_manifest: Path | None,
    config: Path | None,
    dry_run: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Compile MODEL (a Hugging Face folder, a hub id or an .onnx file) for a device.

    The compiled artifact is validated against the checkpoint in FP32, in the runtime that ships; a model
    that loses more than --max-drop is not written.

    With --config options are taken from a TOML file (`bertc config init` writes one); those on the command
    line override it.

    With --from-manifest a bundle is compiled again from its own record. Its data must be given again, and is
    compared with the record, as the files of MODEL are; options that are not the record's are refused.
    """
    require_host()
    if config is not None:
        if from_manifest is not None:
            raise UsageError("--config with --from-manifest: a record has its options", "leave --config out")
        file = from_config(context, config)
        model, targets = file.pop("model", model), file.pop("target", targets)
        output = file.pop("output", output)
        options.update(file)
    if dry_run and from_manifest is not None:
        raise UsageError("--dry-run does not go with --from-manifest", "leave one of them out")
    from compiler.cli.console import console_progress, print_summary

    done: CompilePlan | CompileResult
    with console_progress(quiet=as_json, verbose=verbose) as progress:
        # Importing torch takes seconds.
        from compiler.compile import compile_model
        from compiler.dry_run import CompilePlan, plan_compile
        from compiler.replay.compile import compile_from_manifest

        if from_manifest is not None:
            given: Any = {name: value for name, value in options.items() if _is_given(context, name)}
            done = compile_from_manifest(
                from_manifest, output, model=model, target=_only(targets), progress=progress, **given
            )
        elif model is None:
            raise click.MissingParameter(ctx=context, param_hint="'MODEL'", param_type="argument")
        else:
            work = plan_compile if dry_run else compile_model
            done = work(model, output, target=targets or ("native",), progress=progress, **options)
    if as_json:
        print_json(done.to_json())
    elif isinstance(done, CompilePlan):
        _print_plan(done)
    else:
        print_summary(done)


def _print_plan(plan: CompilePlan) -> None:
    from compiler.cli.plan_report import plan_lines

    for line in plan_lines(plan):
        print_text(line)


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT


def _only(targets: tuple[str, ...]) -> str | None:
    if len(targets) > 1:
        raise UsageError("--from-manifest is of one target", "give --target once, or leave it out")
    return targets[0] if targets else None
