"""`bertc emulator`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from compiler.cli.completing import complete_emulated
from targets.cli.completing import among
from targets.cli.options import print_json, print_text


@click.group("emulator", short_help="Set up and use CPUs that are not here.")
def emulator_command() -> None:
    """Set up and use emulators of devices: QEMU's user mode over a Debian userland in your cache folder.

    They run the device's own runtime on the device's own instructions, exactly and slowly: for whether a
    bundle is right, never for how fast it is.
    """


@emulator_command.command("setup")
@click.argument(
    "names", nargs=-1, required=True, metavar="arm64|avx2...", shell_complete=among("arm64", "avx2")
)
@click.option(
    "--apt-sources",
    type=click.Path(path_type=Path),
    help="Of Debian 12, and of 13 for QEMU, in place of the system's.",
)
@click.option("--locked", is_flag=True, help="Take and leave no Debian package newer than the tested one.")
@click.option("--force", is_flag=True, help="Set up again what is there, and QEMU.")
def setup_command(names: tuple[str, ...], apt_sources: Path | None, locked: bool, force: bool) -> None:
    """Prepare a userland, through apt and pip, without root.

    Debian packages and wheels are pinned and their hashes compared. Where Debian has replaced a package
    since, its newer one is taken, whose signature apt checks, unless --locked is given. It is left in your
    cache folder, which BERTC_CACHE_DIR names. What older versions left there is removed.
    """
    from compiler.cli.console import console_progress
    from compiler.emulate.setup import set_up_each
    from compiler.emulate.userland import lock_of
    from compiler.progress import Clock

    for name in names:
        lock_of(name)
    with console_progress(quiet=False) as progress:
        clock = Clock(progress)
        for userland in set_up_each(names, clock, sources=apt_sources, locked=locked, force=force):
            print_text(f"{userland.name}: ready in {userland.folder}")


@emulator_command.command("remove")
@click.argument(
    "names", nargs=-1, required=True, metavar="arm64|avx2...", shell_complete=among("arm64", "avx2")
)
def remove_command(names: tuple[str, ...]) -> None:
    """Remove userlands from your cache folder, and QEMU with the last one.

    Waits for what is set up there, and some seconds for what runs there.
    """
    from compiler.cli.console import console_progress
    from compiler.emulate.removal import remove, remove_qemu
    from compiler.emulate.userland import lock_of
    from compiler.progress import Clock

    for name in names:
        lock_of(name)
    with console_progress(quiet=False) as progress:
        clock = Clock(progress)
        for name in names:
            print_text(f"{name}: {_megabytes(remove(name, clock))} freed")
        freed = remove_qemu(clock)
        if freed:
            print_text(f"QEMU: {_megabytes(freed)} freed")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


@emulator_command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(as_json: bool) -> None:
    """List the CPUs that can be emulated, what is ready, and its size."""
    from compiler.emulate.cpus import emulated_cpus
    from compiler.emulate.folders import disk_size, emulators_folder
    from compiler.emulate.readiness import missing
    from compiler.emulate.userland import ARCHES, lock_of, userland_folder

    sizes = {name: disk_size(userland_folder(lock_of(name)).resolve()) for name in ARCHES}
    together = disk_size(emulators_folder())
    states = {each.id: missing(each.userland) for each in emulated_cpus()}
    if as_json:
        rows = [
            {
                "id": each.id,
                "description": each.description,
                "userland": each.userland,
                "missing": states[each.id] or None,
                "bytes": sizes[each.userland],
            }
            for each in emulated_cpus()
        ]
        print_json({"cpus": rows, "folder": str(emulators_folder()), "bytes": together})
        return
    for each in emulated_cpus():
        ready = f"ready, {_megabytes(sizes[each.userland])}"
        print_text(f"{each.id:<11} {each.userland:<6} {states[each.id] or ready}")
        print_text(f"{'':<11} {each.description}")
    if together:
        print_text(f"{_megabytes(together)} in {emulators_folder()}")


@emulator_command.command("run", context_settings={"allow_interspersed_args": False})
@click.argument("cpu", shell_complete=complete_emulated)
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
@click.option(
    "--runtime",
    type=click.Choice(["onnxruntime", "openvino"]),
    help="Installed there.  [default: the bundle's]",
)
def run_command(cpu: str, arguments: tuple[str, ...], runtime: str | None) -> None:
    """Run a device's command on an emulated CPU: bertc emulator run raspberry-pi-5 selftest BUNDLE.

    CPU is one of `bertc emulator list`, or a target's id. Nothing but the device's packages is there. Options
    of emulator run come before CPU; what follows CPU is the device's command, its --help included.
    """
    from compiler.emulate.cpus import find_cpu
    from compiler.emulate.guest import run_guest
    from compiler.emulate.readiness import require_emulator

    found = find_cpu(cpu)
    userland = require_emulator(found.userland)
    code = run_guest(found, userland, runtime or _runtime_of(arguments), ["-m", "targets.cli", *arguments])
    click.get_current_context().exit(code)


def _runtime_of(arguments: tuple[str, ...]) -> str:
    """The runtime of the first bundle that is named."""
    from targets.bundle.reader import Bundle

    for each in arguments:
        named = False
        # A text may be too long for the name of a file.
        with suppress(OSError):
            named = (Path(each) / "bundle.json").is_file()
        if named:
            return Bundle.open(each).manifest.runtime.backend
    return "onnxruntime"
