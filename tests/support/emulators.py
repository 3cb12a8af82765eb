"""An apt, a dpkg, a pip and QEMUs that are shell scripts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compiler.emulate.folders import make_emulators_folder
from compiler.emulate.userland import Lock, Package, QemuLock, qemu_folder
from tests.support.compiling import everything

VERSION = "10.0.2"


def fake_qemu(path: Path, text: str, version: str = VERSION) -> Path:
    """A QEMU that tells its version, and else does what a script says."""
    told = (
        f'[ "$1" = --version ] && {{ echo "qemu-aarch64 version {version} (Debian 1:{version})"; exit 0; }}'
    )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{told}\n{text}")
    path.chmod(0o755)
    return path


def own_qemu(text: str) -> Path:
    """The QEMU of the user's cache folder for arm64."""
    make_emulators_folder()
    qemu_folder().mkdir(mode=0o700, exist_ok=True)
    (qemu_folder() / "qemu.json").write_text('{"pinned": true}')
    return fake_qemu(qemu_folder() / "qemu-aarch64", text)


APT = """#!/bin/sh
# A .deb is a file whose first line is its version; archive/ has what apt's sources have.
echo "apt-get $*" >> {log}
arch=
while [ $# -gt 0 ]; do
  case "$1" in
    -oAPT::Architecture=*) arch="${{1#*=}}" ;;
    indextargets) cat {archive}/indextargets; exit 0 ;;
    update) [ -e {archive}/broken ] && {{ echo "E: Some index files failed to download" >&2; exit 100; }}
      exit 0 ;;
    download) shift; break ;;
  esac
  shift
done
for wanted in "$@"; do
  name="${{wanted%%=*}}"
  [ -e "{archive}/$name" ] || {{ echo "E: Unable to locate package $name" >&2; exit 100; }}
  version="$(head -n 1 "{archive}/$name")"
  case "$wanted" in
    *=*) [ "$version" = "${{wanted#*=}}" ] || {{
      echo "W: something" >&2
      echo "E: Version '${{wanted#*=}}' for '$name' was not found" >&2; exit 100; }} ;;
  esac
done
for wanted in "$@"; do
  name="${{wanted%%=*}}"
  cp "{archive}/$name" "${{name}}_$(head -n 1 "{archive}/$name")_$arch.deb"
done
"""
DPKG = """#!/bin/sh
case "$1" in
  --field) head -n 1 "$2" ;;
  --extract) name="$(basename "$2")"; name="${{name%%_*}}"; mkdir -p "$3/usr/bin"
    case "$name" in
      qemu-user) cp {qemu} "$3/usr/bin/qemu-aarch64"; cp {qemu} "$3/usr/bin/qemu-x86_64" ;;
      python3.11) echo python > "$3/usr/bin/python3.11" ;;
      full) echo "dpkg-deb: error: No space left on device" >&2; exit 2 ;;
      *) echo "$name" > "$3/usr/$name" ;;
    esac ;;
esac
"""
QEMU = """echo "qemu $*" >> {log}
[ -e {archive}/crashing ] && kill -ILL $$
exit 0
"""
INDEXTARGETS = """\
Debian|Debian|http://deb.example/debian/
Debian|Debian|http://deb.example/debian/
Debian|Debian-Security|http://deb.example/debian-security/
Debian|Debian Backports|http://deb.example/debian/
Ubuntu|Ubuntu|http://other.example/ubuntu/
||http://other.example/unnamed/
"""
PIP = """#!/bin/sh
echo "pip $*" >> {log}
[ -e {archive}/no-wheels ] && {{ echo "ERROR: No matching distribution found for numpy==2.4.6" >&2; exit 1; }}
for each in "$@"; do
  case "$each" in --target=*) mkdir -p "${{each#*=}}/numpy" ;; esac
done
exit 0
"""


@dataclass(frozen=True)
class Fakes:
    """Programs on PATH, and an archive of packages."""

    folder: Path

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    @property
    def cache(self) -> Path:
        return Path(os.environ["BERTC_CACHE_DIR"])

    def program(self, name: str, text: str) -> Path:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        names = {"log": self.folder / "log", "archive": self.archive, "qemu": self.folder / "qemu"}
        path.write_text(text.format(**names))
        path.chmod(0o755)
        return path

    def emulator(self, name: str, version: str = VERSION) -> Path:
        """A QEMU on PATH, or another place in the folder."""
        text = QEMU.format(log=self.folder / "log", archive=self.archive)
        return fake_qemu(self.folder / name, text, version)

    def sources(self, *lines: str) -> None:
        """What apt says of the system's sources."""
        (self.archive / "indextargets").write_text("".join(f"{line}\n" for line in lines))

    def has(self, name: str, version: str = "1.0-1") -> Package:
        """Puts a package into the archive."""
        data = f"{version}\n{name}\n".encode()
        (self.archive / name).write_bytes(data)
        return Package(name, version, hashlib.sha256(data).hexdigest())

    @property
    def log(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []

    def said(self, program: str, word: str = "") -> list[str]:
        return [line for line in self.log if line.startswith(program + " ") and word in line]


STATIC = "bin/qemu-aarch64-static"
Locks = Callable[..., Lock]
PinQemu = Callable[..., QemuLock]


def nothing_left(fakes: Fakes) -> bool:
    """But a folder, where one was made to lock what was to be set up."""
    return not fakes.cache.exists() or set(everything(fakes.cache)) <= {"emulators"}
