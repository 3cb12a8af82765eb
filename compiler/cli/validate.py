"""`bertc validate`."""

from __future__ import annotations

import click

from compiler.cli.completing import complete_emulated
from compiler.cli.options import column_options
from targets.cli.completing import complete_files
from targets.cli.options import BundleArgument, bundle_options, print_json, print_text, threads_option
from targets.cli_errors import print_warning
from targets.errors import AccuracyGateError


@click.command("validate", short_help="Measure a bundle's accuracy on this machine.")
@bundle_options
@click.option(
    "--eval-data",
    required=True,
    metavar="FILE",
    shell_complete=complete_files,
    help="Text, with or without labels.",
)
@click.option("--eval-samples", type=int, help="Texts drawn from it.  [default: as in the compile, or all]")
@click.option(
    "--model",
    metavar="MODEL",
    shell_complete=complete_files,
    help="The checkpoint, to compare with on data that the bundle was not compiled with.",
)
@click.option("--max-drop", type=float, help="Largest loss of the metric.  [default: the bundle's own]")
@column_options
@click.option("--seed", type=int, help="Of the sample.  [default: the compile's]")
@threads_option
@click.option(
    "--emulate",
    metavar="ID",
    shell_complete=complete_emulated,
    help="Run it in the device's own runtime on the emulated CPU of a target, as in raspberry-pi-5.",
)
def validate_command(
    bundle: BundleArgument,
    as_json: bool,
    eval_data: str,
    eval_samples: int | None,
    model: str | None,
    max_drop: float | None,
    text_column: str | None,
    text_pair_column: str | None,
    label_column: str | None,
    seed: int | None,
    threads: int | None,
    emulate: str | None,
) -> None:
    """Measure a bundle's accuracy on this machine, against FP32.

    On the data that the bundle was compiled with, the FP32 model's answers are in the bundle. On other
    data give the checkpoint with --model; without it only the bundle's own metrics are measured.

    With --emulate the bundle runs on a CPU that is not here, in the device's own runtime (see `bertc
    emulator`), over the texts that the compile kept answers to, and is compared with the exact integer
    reference as well. Nothing is timed there.
    """
    from calibration.examples import DataOptions
    from compiler.cli.text_progress import text_progress
    from compiler.report.text import SELF_TEST_HINT, describe, validation_rows
    from compiler.revalidate import revalidate

    with text_progress(quiet=as_json) as progress:
        validation, notes = revalidate(
            bundle.open(),
            eval_data,
            DataOptions(text_column, text_pair_column, label_column),
            limit=eval_samples,
            model=model,
            max_drop=max_drop,
            seed=seed,
            threads=threads or 0,
            emulate=emulate,
            progress=progress,
        )
    if as_json:
        print_json(validation.to_json())
    else:
        for label, text in validation_rows(validation):
            print_text(f"{label:<12} {text}")
    for note in notes:
        print_warning(note)
    if validation.status == "failed":
        raise AccuracyGateError(
            describe(validation),
            SELF_TEST_HINT
            if validation.failed_self_test
            else "compile again with other --calibration-data or --precision",
        )
