"""`bertc inspect`, of bundles as on a device, and of models."""

from __future__ import annotations

from pathlib import Path

import click

from compiler.cli.host import require_host
from compiler.cli.options import verbose_option
from targets.cli.completing import complete_files
from targets.cli.inspect import length_option, products_option, show_bundle
from targets.cli.options import BundleArgument, identity_options, print_json, print_text
from targets.errors import UsageError


@click.command("inspect", short_help="Show what a bundle or a model is made of, layer by layer.")
@click.argument("model", metavar="BUNDLE|MODEL", shell_complete=complete_files)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@identity_options
@length_option
@products_option
@verbose_option
@click.option("--task", help="Of a model: its task, where the checkpoint's architecture does not say it.")
@click.option("--revision", help="Of a hub id: branch, tag or commit.")
def inspect_command(
    model: str,
    as_json: bool,
    expect_id: str | None,
    key: Path | None,
    length: int | None,
    products: bool,
    verbose: bool,
    task: str | None,
    revision: str | None,
) -> None:
    """Show layer by layer what a bundle or a model is made of.

    Of a bundle: widths, sizes and FLOPs, what runs in INT8 and what in float, and why, as its runtime said
    when it was compiled. Of a model (a Hugging Face folder, a hub id or an .onnx file): what each layer has,
    and what of it may be pruned.
    """
    if expect_id is not None or key is not None or _is_bundle(Path(model)):
        _refuse_options(model, {"--task": task, "--revision": revision})
        show_bundle(BundleArgument(Path(model), expect_id, key), as_json, length=length, products=products)
        return
    if products:
        raise UsageError(f"--products is for bundles, and {model} is none", "leave --products out")
    require_host(f"{model} is not a bundle, and inspecting a model")
    _refuse_empty(Path(model))
    _show_model(model, as_json, length, task, revision, verbose)


def _is_bundle(path: Path) -> bool:
    try:
        return path.suffix == ".bundle" or path.name == "bundle.json" or (path / "bundle.json").exists()
    except OSError:  # a name that no file system takes
        return False


def _refuse_empty(path: Path) -> None:
    """A folder with nothing of a model in it; what is missing from one is said when it is read."""
    marks = ("config.json", "modules.json", "*/config.json", "*.safetensors")
    if path.is_dir() and not any(next(path.glob(mark), None) for mark in marks):
        raise UsageError(
            f"{path} is neither a bundle nor a model: it has no bundle.json and no config.json",
            "pass a folder that `bertc compile` or save_pretrained() wrote, an .onnx file or a hub id",
        )


def _refuse_options(model: str, options: dict[str, object]) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise UsageError(
            f"{given[0]} is for models, and {model} is read as a bundle",
            f"leave {given[0]} out, or give a model without --expect-id and --key",
        )


def _show_model(
    model: str,
    as_json: bool,
    length: int | None,
    task: str | None,
    revision: str | None,
    verbose: bool,
) -> None:
    from compiler.cli.console import console_progress
    from compiler.cli.inspect_report import inspection_lines

    with console_progress(quiet=as_json, verbose=verbose) as progress:
        # Importing torch takes seconds.
        from compiler.inspection import LENGTH, inspect_model

        found = inspect_model(
            model,
            length=LENGTH if length is None else length,
            task=task,
            revision=revision,
            progress=progress,
        )
    if as_json:
        print_json(found.to_json())
    else:
        for line in inspection_lines(found):
            print_text(line)
