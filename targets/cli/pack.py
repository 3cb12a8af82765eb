"""`bertc pack` and `bertc unpack`."""

from __future__ import annotations

from pathlib import Path

import click

from targets.cli.options import BundleArgument, bundle_options, identity_options, print_json, print_text


@click.command("pack", short_help="Write a bundle into one file for shipping.")
@bundle_options
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The archive.  [default: BUNDLE.tar, beside the bundle]",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def pack_command(bundle: BundleArgument, as_json: bool, output: Path | None, force: bool) -> None:
    """Write a bundle into one tar archive, after every file was compared with its hash.

    The same bundle gives the same bytes each time: no times, owners or compression. Any tar reads it; `bertc
    unpack` also checks every byte.
    """
    from targets.bundle.archive import SUFFIX, pack

    opened = bundle.open()
    own = opened.path.resolve()
    found = pack(opened, output or opened.path.parent / (own.name + SUFFIX), force=force)
    if as_json:
        print_json({"path": str(found.path), "bytes": found.size, "sha256": found.sha256, "id": opened.id})
        return
    print_text(f"archive  {found.path}, {found.size / 1e6:.1f} MB")
    print_text(f"sha256   {found.sha256}")
    print_text(f"id       {opened.id}")


@click.command("unpack", short_help="Make a bundle's folder of its archive.")
@click.argument("archive", type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder that receives NAME-TARGET.bundle.  [default: here]",
)
@click.option("--force", is_flag=True, help="Replace a bundle that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@identity_options
def unpack_command(
    archive: Path, output: Path, force: bool, as_json: bool, expect_id: str | None, key: Path | None
) -> None:
    """Make a bundle's folder of an archive that `bertc pack` wrote.

    Every byte is checked: the folder is complete and what its manifest says, or it is not made. --expect-id
    and --key are checked before anything is written.
    """
    from targets.bundle.archive import unpack

    bundle = unpack(archive, output, force=force, expect_id=expect_id, key=key)
    if as_json:
        print_json({"path": str(bundle.path), "id": bundle.id})
        return
    print_text(f"bundle  {bundle.path}")
    print_text(f"id      {bundle.id}")
