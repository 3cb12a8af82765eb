"""`python -m tools.pin_devices`: writes down what a device installs, and what emulators are made of.

Requirements of a device, for every Python that it may have: the versions of constraints.txt, with hashes.
Debian packages of the emulators' userlands: what apt's sources have now. For when constraints.txt changes.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from compiler.emulate.apt import Apt, archives, write_sources
from compiler.emulate.setup import PYTHON, platform_options
from compiler.emulate.userland import ARCHES, RUNTIMES, Package

ROOT = Path(__file__).resolve().parent.parent
SUITE = "bookworm"
QEMU, QEMU_SUITE, QEMU_HOSTS = "qemu-user", "trixie", ("amd64", "arm64")
PYTHONS = (PYTHON, "3.12", "3.13")
DEVICE = ("click", "numpy", "tokenizers")
PACKAGES = (
    *(f"python{PYTHON}", f"python{PYTHON}-minimal"),
    *(f"libpython{PYTHON}-stdlib", f"libpython{PYTHON}-minimal"),
    *("libc6", "libstdc++6", "libgcc-s1", "zlib1g", "libexpat1", "libssl3", "libffi8", "libbz2-1.0"),
    *("liblzma5", "libsqlite3-0", "libuuid1", "libcrypt1", "libncursesw6", "libtinfo6", "libreadline8"),
)
HEADER = """\
# What a device needs to run bundles on {runtime}, with the hash of every wheel ({arch}, Python {pythons}).
# pip install --no-deps --require-hashes --only-binary=:all: -r {name}
"""


@click.command("tools.pin_devices", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--apt-sources", type=click.Path(path_type=Path), help="Of Debian 12, in place of the system's."
)
def pin_command(apt_sources: Path | None) -> None:
    """Writes targets/requirements and compiler/emulate/*.toml again."""
    versions = constraints()
    with tempfile.TemporaryDirectory(prefix="bertc-pin-") as place:
        work = Path(place)
        for name, arch in ARCHES.items():
            for runtime in RUNTIMES:
                file = f"{arch.wheel}-{runtime}.txt"
                text = requirements(versions, runtime, arch.wheel, work / name / runtime)
                head = HEADER.format(runtime=runtime, arch=arch.wheel, pythons=", ".join(PYTHONS), name=file)
                (ROOT / "targets" / "requirements" / file).write_text(head + text, encoding="utf-8")
                click.echo(f"targets/requirements/{file}")
            lock = packages(name, opened(work / name, SUITE, arch.debian, apt_sources), work / name)
            (ROOT / "compiler" / "emulate" / f"{name}.toml").write_text(lock, encoding="utf-8")
            click.echo(f"compiler/emulate/{name}.toml")
        (ROOT / "compiler" / "emulate" / "qemu.toml").write_text(qemu(work, apt_sources), encoding="utf-8")
        click.echo("compiler/emulate/qemu.toml")


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {name.lower(): version for name, version in pairs}


def requirements(versions: dict[str, str], runtime: str, arch: str, folder: Path) -> str:
    """One requirement for each package, with the hashes of its wheels."""
    text = ""
    for package in sorted((*DEVICE, runtime)):
        pinned = f"{package}=={versions[package]}"
        hashes = sorted({hash_of(path) for path in wheels(pinned, arch, folder / package)})
        text += " \\\n".join([pinned, *(f"    --hash=sha256:{each}" for each in hashes)]) + "\n"
    return text


def wheels(pinned: str, arch: str, folder: Path) -> Sequence[Path]:
    for python in PYTHONS:
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"),
                *("--no-deps", "--only-binary=:all:", f"--python-version={python}"),
                *(*platform_options(arch), f"--dest={folder}", pinned),
            ],
            check=True,
        )
    return sorted(folder.glob("*.whl"))


def opened(work: Path, suite: str, arch: str, sources: Path | None) -> Apt:
    """apt over one release and architecture."""
    folder = work / f"{suite}-{arch}"
    folder.mkdir(parents=True)
    (folder / "system").mkdir()
    file = sources or write_sources(folder / f"{suite}.sources", archives(folder / "system"), suite)
    apt = Apt(folder, arch, file)
    apt.update()
    return apt


def qemu(work: Path, sources: Path | None) -> str:
    """The lock of QEMU, as TOML."""
    found = {}
    for host in QEMU_HOSTS:
        apt = opened(work, QEMU_SUITE, host, sources)
        found[host] = apt.describe(apt.newest(QEMU, work), QEMU)
    return qemu_text(found)


def qemu_text(found: Mapping[str, Package]) -> str:
    """The lock of QEMU's packages by host, which must be of one version.

    Raises:
        ClickException: they are not.
    """
    versions = {package.version for package in found.values()}
    if len(versions) != 1:
        told = ", ".join(f"{package.version} for {host}" for host, package in found.items())
        raise click.ClickException(f"{QEMU} is not of one version: {told}")
    return "\n".join(
        [
            "# QEMU's user mode; written by tools.pin_devices. Older ones: see compiler/emulate/qemu.py.",
            *(f'suite = "{QEMU_SUITE}"', f'package = "{QEMU}"', f'version = "{versions.pop()}"', ""),
            "[sha256]",
            *(f'{host} = "{package.sha256}"' for host, package in found.items()),
            "",
        ]
    )


def packages(name: str, apt: Apt, folder: Path) -> str:
    """The lock of a userland, as TOML."""
    (folder / "debs").mkdir(parents=True)
    lines = [
        f"# The Debian packages of the emulator {name}; written by tools.pin_devices.",
        f'suite = "{SUITE}"',
    ]
    for package in PACKAGES:
        found = apt.describe(apt.newest(package, folder / "debs"), package)
        lines += ["", "[[packages]]", f'name = "{found.name}"', f'version = "{found.version}"']
        lines.append(f'sha256 = "{found.sha256}"')
    return "\n".join(lines) + "\n"


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    pin_command()
