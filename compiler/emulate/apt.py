"""Debian packages through apt, for any of its architectures, without root."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from compiler.emulate.tools import require_tool, run_tool
from compiler.emulate.userland import Package
from compiler.progress import Clock
from targets.errors import IntegrityError, MissingBackendError, UsageError

_MISSING: Final = re.compile(r"E: (?:Version '.*' for '.*' was not found|Unable to locate package .*)")
DEBIAN: Final = "Debian"
_SUITES: Final = {DEBIAN: "{suite} {suite}-updates", "Debian-Security": "{suite}-security"}
_KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_ENDINGS: Final = (".list", ".sources")
_LINE: Final = re.compile(r"deb(?:-src)?\s")
_TOOLS: Final = ("apt-get", "apt-cache", "dpkg-deb")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A package file.

    Attributes:
        path: of the file.
        package: what it is.
        pinned: whether it is the version that was tested.
        tested: whether any version was, of this architecture.
    """

    path: Path
    package: Package
    pinned: bool
    tested: bool = True


def warn_of_newer(fetched: Sequence[Fetched], clock: Clock) -> None:
    """Says which packages are not those that were tested."""
    for each in fetched:
        if not each.pinned:
            clock.progress.warn(
                f"Debian has replaced {each.package.name}: its {each.package.version} was not tested"
            )


@dataclass(frozen=True, slots=True)
class Archive:
    """One Debian archive of the system's sources.

    Attributes:
        uri: of the archive.
        label: Debian's name of it: "Debian", or "Debian-Security".
    """

    uri: str
    label: str


def archives(folder: Path) -> tuple[Archive, ...]:
    """The Debian archives that the system's own sources name, whatever releases they name of them.

    Args:
        folder: for lists and caches; it must exist.

    Raises:
        MissingBackendError: this is no system with apt, or its sources have nothing of Debian.
    """
    apt = Apt(folder)
    apt.update()
    found = {each for each in apt.archives() if each.label in _SUITES}
    if not any(each.label == DEBIAN for each in found):
        raise MissingBackendError(
            "apt's sources on this system have no Debian archive",
            "name sources of Debian with --apt-sources FILE (on Ubuntu, install debian-archive-keyring too), "
            "or run it in a container of Debian",
        )
    return tuple(sorted(found, key=lambda each: (each.label, each.uri)))


def write_sources(path: Path, found: Sequence[Archive], suite: str) -> Path:
    """A file of sources for one Debian release, from archives that the system trusts already."""
    keyring = f"Signed-By: {_KEYRING}\n" if _KEYRING.is_file() else ""
    entries = [
        f"Types: deb\nURIs: {each.uri}\nSuites: {_SUITES[each.label].format(suite=suite)}\n"
        f"Components: main\n{keyring}"
        for each in found
    ]
    path.write_text("\n".join(entries), encoding="utf-8")
    return path


def named_sources(path: Path, folder: Path) -> Path:
    """A file of sources under a name by which apt reads it: apt tells its two formats by the ending.

    Args:
        path: of the user's file.
        folder: that receives a copy, where the name says nothing of the format.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror or error}", "give a file of apt's sources to --apt-sources"
        ) from error
    if path.suffix in _ENDINGS:
        return path.absolute()
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
    first = next((line for line in lines if line and not line.startswith("#")), "")
    copy = folder / f"given{'.list' if _LINE.match(first) else '.sources'}"
    copy.write_bytes(data)
    return copy


class Apt:
    """apt with package lists of its own, so that the system's are neither needed nor changed.

    Args:
        folder: for lists and caches; it must exist.
        arch: Debian's name of an architecture; None for the system's own.
        sources: a file in place of the system's sources; see `named_sources`.

    Raises:
        MissingBackendError: this is no system with apt.
    """

    def __init__(self, folder: Path, arch: str | None = None, sources: Path | None = None) -> None:
        """Makes the folders that apt wants."""
        for tool in _TOOLS:
            require_tool(
                tool,
                "bertc emulator setup works on Debian, in a container of it, and on Ubuntu with "
                "debian-archive-keyring and --apt-sources",
            )
        for part in ("lists/partial", "archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        options = {
            "Dir::State": folder,
            "Dir::State::lists": folder / "lists",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder,
            "APT::Sandbox::User": "",
        }
        if arch is not None:
            options |= {"APT::Architecture": arch, "APT::Architectures": arch}
        if sources is not None:
            options |= {"Dir::Etc::sourcelist": sources.absolute(), "Dir::Etc::sourceparts": "/dev/null"}
        self._options = [f"-o{key}={value}" for key, value in options.items()]

    def update(self) -> None:
        """Reads the lists of packages.

        Raises:
            MissingBackendError: apt cannot.
        """
        run_tool(["apt-get", *self._options, "-qq", "update"], "check the network and apt's sources")

    def archives(self) -> set[Archive]:
        """Every archive whose lists were read and that says it is Debian's."""
        told = run_tool(
            ["apt-get", *self._options, "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)"],
            "check apt's sources",
        )
        fields = (line.split("|") for line in told.splitlines())
        return {Archive(line[2], line[1]) for line in fields if len(line) == 3 and line[0] == DEBIAN}

    def download(self, packages: Sequence[Package], folder: Path, *, locked: bool) -> list[Fetched]:
        """Fetches the versions that were tested, or else the archive's, whose signature apt checks.

        Args:
            packages: names, tested versions and hashes.
            folder: that receives the files.
            locked: whether no other version will do.

        Raises:
            MissingBackendError: the archive does not have one.
            IntegrityError: a tested version has other bytes.
        """
        together = self._get([f"{each.name}={each.version}" for each in packages], folder)
        if together is not None:
            paths = {path.name.split("_", 1)[0]: path for path in together}
            return [_checked(paths[each.name], each) for each in packages]
        return [self._one(each, folder, locked) for each in packages]

    def _one(self, package: Package, folder: Path, locked: bool) -> Fetched:
        exact = self._get([f"{package.name}={package.version}"], folder)
        if exact is not None:
            return _checked(exact[0], package)
        if locked:
            raise MissingBackendError(
                f"apt's sources do not have {package.name} {package.version}",
                "name sources of the Debian release with --apt-sources FILE, or leave out --locked",
            )
        newer = self.newest(package.name, folder)
        return Fetched(newer, self.describe(newer, package.name), False)

    def newest(self, name: str, folder: Path) -> Path:
        """Fetches the archive's own version of a package.

        Raises:
            MissingBackendError: it has none.
        """
        found = self._get([name], folder)
        if found is None:
            raise MissingBackendError(
                f"apt's sources do not have {name}",
                "name sources of the Debian release with --apt-sources FILE",
            )
        return found[0]

    def describe(self, path: Path, name: str) -> Package:
        """Version and hash of a package file."""
        version = run_tool(["dpkg-deb", "--field", str(path), "Version"], "remove it and try again").strip()
        return Package(name, version, hashlib.sha256(path.read_bytes()).hexdigest())

    def _get(self, wanted: Sequence[str], folder: Path) -> list[Path] | None:
        """The downloaded files; None where the archive lacks one."""
        place = folder / "some"
        place.mkdir()
        try:
            run_tool(
                ["apt-get", *self._options, "-qq", "download", *wanted],
                "check the network and apt's sources",
                folder=place,
            )
            return [path.rename(folder / path.name) for path in sorted(place.glob("*.deb"))]
        except MissingBackendError as error:
            if _MISSING.search(error.message):
                return None
            raise
        finally:
            shutil.rmtree(place)


class Releases:
    """Debian releases, each with package lists of its own.

    Args:
        sources: a file in place of the system's sources.
    """

    def __init__(self, sources: Path | None = None) -> None:
        """Reads nothing yet."""
        self._sources = sources
        self._known: tuple[Archive, ...] | None = None

    def open(self, work: Path, suite: str, arch: str | None) -> Apt:
        """One release, its lists read.

        Args:
            work: for lists, caches and sources; it must exist.
            suite: the release.
            arch: as for `Apt`.

        Raises:
            MissingBackendError: no apt, no network, or no Debian in the system's sources.
            UsageError: the file of sources cannot be read.
        """
        if self._sources is not None:
            file = named_sources(self._sources, work)
        else:
            if self._known is None:
                self._known = archives(_made(work / "system"))
            file = write_sources(work / f"{suite}.sources", self._known, suite)
        apt = Apt(_made(work / f"apt-{suite}"), arch, file)
        apt.update()
        return apt


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _checked(path: Path, package: Package) -> Fetched:
    if hashlib.sha256(path.read_bytes()).hexdigest() != package.sha256:
        raise IntegrityError(
            f"{package.name} {package.version} is not the package that was tested",
            "another archive than Debian's gave it; name Debian's with --apt-sources",
        )
    return Fetched(path, package, True)


def unpack(packages: Sequence[Path], root: Path) -> None:
    """Unpacks package files into a folder."""
    root.mkdir(exist_ok=True)
    for path in packages:
        run_tool(["dpkg-deb", "--extract", str(path), str(root)], "free some space, or set it up again")
