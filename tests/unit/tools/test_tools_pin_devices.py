"""`python -m tools.pin_devices`: the lock of QEMU."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

import pytest
from click import ClickException

from compiler.emulate.userland import Package, qemu_lock
from tools.pin_devices import PACKAGES, PYTHONS, QEMU_HOSTS, qemu_text


def found() -> dict[str, Package]:
    lock = qemu_lock()
    return {host: Package(lock.package, lock.version, lock.sha256[host]) for host in QEMU_HOSTS}


def test_it_writes_the_lock_that_ships() -> None:
    assert qemu_text(found()) == (files("compiler.emulate") / "qemu.toml").read_text(encoding="utf-8")


def test_qemu_is_of_one_version_on_all_hosts() -> None:
    packages = found()
    packages["arm64"] = replace(packages["arm64"], version="1:10.0.12")
    with pytest.raises(ClickException, match=r"qemu-user is not of one version: .* 1:10\.0\.12 for arm64"):
        qemu_text(packages)


def test_the_pythons() -> None:
    assert PYTHONS == ("3.11", "3.12", "3.13")
    assert {"python3.11", "python3.11-minimal", "libpython3.11-stdlib"} <= set(PACKAGES)
