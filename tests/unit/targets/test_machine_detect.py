"""What is read from /proc and /sys."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from targets.detect import Machine, machine, parse_cpuinfo

X86 = """processor\t: 0
model\t\t: 97
model name\t: Some CPU @ 2GHz
flags\t\t: fpu avx2 avx_vnni

processor\t: 1
model name\t: Some CPU @ 2GHz
flags\t\t: fpu avx2
"""
ARM = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd asimddp
CPU part\t: 0xd0b

Hardware\t: BCM2712
Model\t\t: Raspberry Pi 5
"""


def test_features_are_those_of_every_core() -> None:
    assert parse_cpuinfo(X86) == ("Some CPU @ 2GHz", frozenset({"fpu", "avx2"}))


def test_arm_names_its_features_otherwise() -> None:
    assert parse_cpuinfo(ARM) == ("Raspberry Pi 5", frozenset({"fp", "asimd", "asimddp"}))


@pytest.mark.parametrize("text", ["", "garbage", ":::\n:", "flags"])
def test_other_text_gives_nothing(text: str) -> None:
    assert parse_cpuinfo(text) == ("", frozenset())


@pytest.mark.parametrize(
    ("meminfo", "limit", "expected"),
    [
        ("MemTotal:  8388608 kB\nMemFree: 1 kB\n", None, 8192),
        ("MemTotal:  8388608 kB\n", "max\n", 8192),
        ("MemTotal:  8388608 kB\n", "1073741824\n", 1024),
        ("", None, 0),
        ("MemTotal:\nMemTotal: many kB\n", None, 0),
    ],
)
def test_memory_is_the_smaller_of_the_machine_and_its_control_group(
    tmp_path: Path, meminfo: str, limit: str | None, expected: int
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(meminfo, encoding="utf-8")
    (tmp_path / "proc/cpuinfo").write_text(X86, encoding="utf-8")
    if limit is not None:
        (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
        (tmp_path / "sys/fs/cgroup/memory.max").write_text(limit, encoding="utf-8")
    found = machine(tmp_path)
    assert found.memory_mb == expected
    assert found.cpu_model == "Some CPU @ 2GHz"


def test_a_system_without_proc_is_still_described(tmp_path: Path) -> None:
    found = machine(tmp_path)
    assert found.memory_mb == 0
    assert found.cpu_features == frozenset()
    assert found.cpu_model


@pytest.mark.parametrize(
    ("system", "arch"), [("AMD64", "x86_64"), ("arm64", "aarch64"), ("riscv64", "riscv64")]
)
def test_arch_names_are_linux_names(monkeypatch: pytest.MonkeyPatch, system: str, arch: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: system)
    assert machine().arch == arch


def test_this_machine() -> None:
    found = machine()
    assert found.os == platform.system().lower()
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert found.memory_mb > 0


def test_missing_features_are_groups_without_any_member() -> None:
    this = Machine("x86_64", "linux", "", frozenset({"a", "b"}), 1, 1)
    assert this.missing_features((("a", "x"), ("x", "y"), ("b",))) == (("x", "y"),)
    assert this.missing_features(()) == ()
