"""The CPUs that stand for targets."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.emulate.cpus import EmulatedCpu, emulated_cpu, emulated_cpus, find_cpu
from compiler.emulate.guest import guest_output
from compiler.emulate.qemu import guest_command
from compiler.emulate.readiness import missing
from compiler.emulate.userland import ARCHES, Userland, require_userland
from targets.detect import Machine, parse_cpuinfo
from targets.errors import UnsupportedError, UsageError
from targets.registry import get_target, list_targets

ROOT = Path(__file__).resolve().parents[3]
CPUS = {each.id: each for each in emulated_cpus()}
EMULATED = [each for each in list_targets() if each.emulation is not None]
HWCAPS = (
    *("fp", "asimd", "evtstrm", "aes", "pmull", "sha1", "sha2", "crc32", "atomics", "fphp", "asimdhp"),
    *("cpuid", "asimdrdm", "jscvt", "fcma", "lrcpc", "dcpop", "sha3", "sm3", "sm4", "asimddp"),
)
"""Names of the bits of AT_HWCAP on AArch64, as in Linux's arch/arm64/include/uapi/asm/hwcap.h."""

CPUID_BITS = {
    "fma": ("1", 2, 12), "avx": ("1", 2, 28), "f16c": ("1", 2, 29), "bmi1": ("7", 1, 3), "avx2": ("7", 1, 5),
    "bmi2": ("7", 1, 8), "avx512f": ("7", 1, 16), "avx512_vnni": ("7", 2, 11), "amx_int8": ("7", 3, 25),
    "avx_vnni": ("7.1", 0, 4),
}  # fmt: skip
"""Leaf, register (EAX, EBX, ECX, EDX) and bit of Linux CPU flags, as in Intel's manual, volume 2, CPUID."""
CPUID = """
import ctypes, json, mmap
# cpuid(leaf in edi, subleaf in esi, uint32[4] in rdx), in the calling convention of System V
code = bytes.fromhex("53 89f8 89f1 4989d0 0fa2 418900 41895804 41894808 4189500c 5b c3")
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
call = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)(address)
answers = {}
for name, leaf, part in (("1", 1, 0), ("7", 7, 0), ("7.1", 7, 1)):
    registers = (ctypes.c_uint32 * 4)()
    call(leaf, part, ctypes.addressof(registers))
    answers[name] = list(registers)
print(json.dumps(answers))
"""


@pytest.mark.parametrize("cpu", emulated_cpus(), ids=lambda cpu: cpu.id)
@pytest.mark.parametrize("cores", [1, 4])
def test_cpuinfo_says_what_the_cpu_has(cpu: EmulatedCpu, cores: int) -> None:
    text = cpu.cpuinfo(cores)
    model, features = parse_cpuinfo(text)
    assert features == frozenset(cpu.features)
    assert len(features) == len(cpu.features)
    assert model == cpu.identity.get("model name", "")
    numbers = [line.split(": ")[1] for line in text.splitlines() if line.startswith("processor\t:")]
    assert numbers == [str(each) for each in range(cores)]
    blocks = text.split("\n\n")
    assert blocks.pop() == ""
    assert len(blocks) == cores
    assert len({block.partition("\n")[2] for block in blocks}) == 1
    assert text.isascii()


def test_ids_are_no_ids_of_targets() -> None:
    assert len(CPUS) == len(emulated_cpus())
    assert CPUS.keys().isdisjoint(each.id for each in list_targets())
    assert {each.userland for each in emulated_cpus()} == set(ARCHES)
    assert all(each.description for each in emulated_cpus())


@pytest.mark.parametrize("spec", EMULATED, ids=lambda spec: spec.id)
def test_the_cpu_of_a_profile_fits_it(spec: object) -> None:
    assert spec in EMULATED
    target = next(each for each in EMULATED if each is spec)
    cpu = emulated_cpu(target)
    wheel = ARCHES[cpu.userland].wheel
    there = Machine(wheel, "linux", cpu.id, frozenset(cpu.features), 1, 0)
    assert there.fits(target)
    assert there.missing_features(target.cpu_features) == ()
    assert not target.gpu
    assert not target.devices
    assert not (there.dot_products and target.saturates)


def test_targets_that_are_emulated() -> None:
    found = {each.id: each.emulation for each in EMULATED}
    assert found == {
        "arm64-generic": "cortex-a72",
        "raspberry-pi-4": "cortex-a72",
        "raspberry-pi-5": "cortex-a76",
        "x86-64-avx2": "haswell",
    }


def test_only_one_of_the_arm_cpus_has_dot_products() -> None:
    assert "asimddp" in CPUS["cortex-a76"].features
    assert "asimddp" not in CPUS["cortex-a72"].features
    assert not any("vnni" in each or "512" in each for each in CPUS["haswell"].features)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("cortex-a76", "cortex-a76"),
        ("haswell", "haswell"),
        ("raspberry-pi-5", "cortex-a76"),
        ("raspberry-pi-4", "cortex-a72"),
        ("x86-64-avx2", "haswell"),
        (str(ROOT / "targets" / "profiles" / "raspberry-pi-4.toml"), "cortex-a72"),
    ],
)
def test_a_cpu_by_name(name: str, found: str) -> None:
    assert find_cpu(name) is CPUS[found]


def test_names_that_nothing_has(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"'cortex-a77': did you mean cortex-a7\d or cortex-a7\d\?"
    ) as caught:
        find_cpu("cortex-a77")
    assert "bertc emulator list" in caught.value.hint
    with pytest.raises(UsageError, match="did you mean raspberry-pi-5 or raspberry-pi-4"):
        find_cpu("raspbery-pi-5")
    with pytest.raises(
        UsageError, match="known: arm64-generic, cortex-a72, cortex-a76, haswell, raspb"
    ) as caught:
        find_cpu("?" * 500)
    assert "rtx" not in caught.value.message
    assert len(caught.value.message) < 300
    with pytest.raises(UsageError, match="cannot read"):
        find_cpu(str(tmp_path / "none.toml"))


@pytest.mark.parametrize("name", ["rtx-ada", "intel-npu", "x86-64-vnni"])
def test_targets_that_cannot_be_emulated(name: str) -> None:
    with pytest.raises(UnsupportedError, match=f"{name} cannot be emulated") as caught:
        find_cpu(name)
    for each in CPUS:
        assert each in caught.value.hint


def test_a_profile_that_names_no_cpu() -> None:
    spec = replace(get_target("raspberry-pi-5"), emulation="cortex-a67")
    with pytest.raises(UsageError, match=r"emulation 'cortex-a67' is not known: did you mean cortex-a7"):
        emulated_cpu(spec)


def emulator(cpu: EmulatedCpu, monkeypatch: pytest.MonkeyPatch) -> Userland:
    """The user's own, where it was set up."""
    monkeypatch.delenv("BERTC_CACHE_DIR")
    reason = missing(cpu.userland)
    if reason:
        pytest.skip(f"needs the emulator {cpu.userland}: {reason}")
    return require_userland(cpu.userland)


@pytest.mark.parametrize("cpu", emulated_cpus(), ids=lambda cpu: cpu.id)
def test_qemu_has_nothing_to_warn_of(cpu: EmulatedCpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """A feature of QEMU's model of a CPU that QEMU cannot emulate costs a line on every start."""
    userland = emulator(cpu, monkeypatch)
    with guest_command(cpu, userland, "onnxruntime", ["-c", "print(1)"]) as command:
        done = subprocess.run(
            command.arguments, env=command.environment, capture_output=True, text=True, check=False
        )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_instructions_of_a_haswell(monkeypatch: pytest.MonkeyPatch) -> None:
    """What CPUID answers there, by which programs choose their kernels."""
    cpu = CPUS["haswell"]
    userland = emulator(cpu, monkeypatch)
    answers = json.loads(guest_output(cpu, userland, "onnxruntime", ["-c", CPUID]))
    found = {name for name, (leaf, register, bit) in CPUID_BITS.items() if answers[leaf][register] >> bit & 1}
    assert found == {"fma", "f16c", "avx", "bmi1", "avx2", "bmi2"}
    assert found <= set(cpu.features)


@pytest.mark.parametrize("cpu", [each for each in emulated_cpus() if each.userland == "arm64"])
def test_features_are_those_that_the_kernel_would_name(
    cpu: EmulatedCpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QEMU's own AT_HWCAP, by which programs choose their kernels, against what /proc/cpuinfo says there."""
    userland = emulator(cpu, monkeypatch)
    code = (
        "import ctypes; from targets.detect import machine; getauxval = ctypes.CDLL(None).getauxval; "
        "getauxval.restype = ctypes.c_ulong; print(getauxval(16)); print(*sorted(machine().cpu_features))"
    )
    bits, names = guest_output(cpu, userland, "onnxruntime", ["-c", code]).splitlines()
    named = {name for place, name in enumerate(HWCAPS) if int(bits) >> place & 1}
    assert int(bits) >> len(HWCAPS) == 0
    # The event stream is the kernel's own, and the Raspberry Pi 4's Cortex-A72 was made without ciphers.
    ciphers = {"aes", "pmull", "sha1", "sha2"} if cpu.id == "cortex-a72" else set()
    assert (named | {"evtstrm"}) - ciphers == set(cpu.features)
    assert (set(names.split()) | {"evtstrm"}) - ciphers == set(cpu.features)
