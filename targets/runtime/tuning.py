"""The tuning record beside a bundle: where it is, whether it fits this machine, what it says to run with.

`m.bundle` has its record in `m.bundle.tuning.json`, in the same folder: a bundle holds nothing but what its
manifest lists. A record chooses among settings that give the same answers, and nothing else.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from targets.bundle.atomic_file import staged_file
from targets.bundle.device import backend_version
from targets.detect import machine as this_machine
from targets.errors import IntegrityError, MissingBackendError, UsageError
from targets.runtime.backends.threads import resolve_threads
from targets.runtime.settings import Objective, RunSettings
from targets.runtime.tune.parse import AGAIN, parse_record
from targets.runtime.tune.record import MAX_BYTES, MachineRecord, TuningRecord

if TYPE_CHECKING:
    from targets.bundle.reader import Bundle

SUFFIX: Final = ".tuning.json"

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def settings_of(bundle: Bundle, objective: Objective) -> RunSettings | None:
    """What the bundle's record says to run with; None without a record that can be read and fits.

    Args:
        bundle: an open bundle.
        objective: what to be fast at.
    """
    try:
        record = read_record(bundle)
    except IntegrityError:
        return None
    tuned = record.tuned.get(objective) if record is not None else None
    if record is None or tuned is None or misfit(record, bundle) is not None:
        return None
    return tuned.settings


def refuse_emulation() -> None:
    """Refuses to tune where nothing can be timed.

    Raises:
        UsageError: an emulator stands in for this machine's CPU.
    """
    if this_machine().emulated:
        raise UsageError(
            "there is nothing to tune under emulation: times mean nothing there", "tune on the device itself"
        )


def record_path(bundle: Bundle) -> Path:
    """Where a bundle's record is: beside the bundle's real folder, under its name."""
    folder = Path(os.path.realpath(bundle.path))
    return folder.with_name(folder.name + SUFFIX)


def read_record(bundle: Bundle) -> TuningRecord | None:
    """The record of a bundle, whether it fits or not; None if there is none.

    Raises:
        IntegrityError: it is no regular file, cannot be read, or is not what `write_record` writes.
    """
    path = record_path(bundle)
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IntegrityError(f"cannot open {path.name}: {error.strerror}", AGAIN) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IntegrityError(f"{path.name} is not a regular file", AGAIN)
    with os.fdopen(descriptor, "rb") as stream:
        try:
            data = stream.read(MAX_BYTES + 1)
        except OSError as error:
            raise IntegrityError(f"cannot read {path.name}: {error.strerror}", AGAIN) from error
    return parse_record(data, path.name)


def write_record(bundle: Bundle, record: TuningRecord) -> Path:
    """Writes a record in place of the one that is there, whole or not at all.

    Returns:
        Its path.

    Raises:
        UsageError: the folder cannot be written, or this machine's CPU is emulated.
    """
    refuse_emulation()
    path = record_path(bundle)
    data = record.to_json()
    parse_record(data, path.name)
    try:
        with staged_file(path, replace=True, mode=0o644) as stream:
            stream.write(data)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror or error}", "copy the bundle to a folder you can write to"
        ) from error
    return path


def remove_record(bundle: Bundle) -> bool:
    """Deletes a bundle's record, readable or not; whether there was one.

    Raises:
        UsageError: it cannot be deleted.
    """
    path = record_path(bundle)
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UsageError(
            f"cannot delete {path}: {error.strerror or error}", "check the folder's permissions"
        ) from error
    return True


def misfit(record: TuningRecord, bundle: Bundle, machine: MachineRecord | None = None) -> str | None:
    """Why a record says nothing about this bundle on this machine; None if it fits.

    Args:
        record: of some bundle.
        bundle: the one to run.
        machine: the machine; None is the one that runs.
    """
    backend = bundle.manifest.runtime.backend
    emulated = this_machine().emulated
    if emulated:
        return f"this is an emulated {emulated}, and times mean nothing there"
    if record.bundle_id != bundle.id:
        return f"it was measured on another bundle, {record.bundle_id[:12]}"
    if record.backend != backend:
        return f"it was measured on {record.backend}, the bundle is for {backend}"
    try:
        installed = backend_version(backend)
    except MissingBackendError:
        return f"{backend} is not installed"
    if record.backend_version != installed:
        return f"it was measured with {backend} {record.backend_version}, this is {installed}"
    here = machine or describe_machine()
    if record.machine != here:
        return f"it was measured on {_shown(record.machine)}, this is {_shown(here)}"
    most = max(max(each.settings.threads, each.settings.streams) for each in record.tuned.values())
    if most > here.cores:
        return f"it wants {most} threads, this process may use {here.cores} cores"
    return None


def describe_machine() -> MachineRecord:
    """This machine, as far as timings depend on it."""
    found = this_machine()
    return MachineRecord(
        found.arch, found.os, " ".join(found.cpu_model.split())[:256], found.cores, resolve_threads(0)
    )


def _shown(machine: MachineRecord) -> str:
    return f"{machine.cpu_model} with {machine.cores} cores ({machine.threads} threads)"
