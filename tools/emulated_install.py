"""The device's install in an emulator's userland: what it weighs, and every device command on a bundle."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import targets
from compiler.emulate.cpus import EmulatedCpu, find_cpu
from compiler.emulate.guest import guest_output
from compiler.emulate.readiness import require_emulator
from compiler.emulate.userland import Userland
from targets.bundle.reader import Bundle
from targets.pins import PIP, Pins, device_pins
from targets.registry import list_targets
from targets.spec import GPU_RUNTIMES
from tools.device_commands import FOUND, forbidden, sample_text

OURS = (".py", ".toml", ".txt", ".json", ".typed")
ABOUT = "import json, platform, sys; print(json.dumps([platform.machine(), platform.python_version()]))"


@dataclass(frozen=True)
class Device:
    """An emulated one, with one runtime."""

    cpu: EmulatedCpu
    userland: Userland
    runtime: str

    def python(self, *arguments: object) -> Any:
        """What Python prints there, read as JSON; -P keeps modules of the working folder out."""
        return json.loads(guest_output(self.cpu, self.userland, self.runtime, ["-P", *map(str, arguments)]))

    def bertc(self, command: str, bundle: Path, *options: str) -> Any:
        return self.python("-m", "targets.cli", command, bundle, "--json", *options)


def check_emulated(bundle: Path, name: str) -> None:
    """Prints what is installed on an emulated device, and runs everything once; nothing is timed.

    Raises:
        BertcError: no such CPU, no emulator, or a command that fails there.
        SystemExit: a package that a device must not have, or an answer that is not right.
    """
    manifest = Bundle.open(bundle).manifest
    cpu = find_cpu(name)
    device = Device(cpu, require_emulator(cpu.userland), manifest.runtime.backend)
    arch, python = device.python("-c", ABOUT)
    print(f"{bundle.name}: {manifest.task} on {device.runtime}, Python {python} on {arch}")
    print(f"  {cpu.description}; emulated, so nothing is timed")
    for line in size_lines(device.userland.site(device.runtime)):
        print(f"  installed {line}")
    others = device.python("-c", FOUND, *forbidden(device.runtime), "compiler", "calibration")
    require(others == [], f"the device has {', '.join(others)} too")
    print("  packages  none of the host's can be imported")
    run_commands(device, bundle, manifest.task)


def run_commands(device: Device, bundle: Path, task: str) -> None:
    for command in ("check-device", "verify", "selftest"):
        report = device.bertc(command, bundle)
        require(report["ok"] is True, f"{command} fails: {report}")
        print(f"  {command:<12} ok")
    answer = device.python("-m", "targets.cli", "run", bundle, "--json", *sample_text(bundle, task))
    require(bool(answer["text"]), f"run answers {answer}")
    print(f"  {'run':<12} ok: {told(answer)}")
    report = device.bertc("bench", bundle, "--shape", "1x32", "--iterations", "1")
    require(len(report["shapes"]) == 1, f"bench tells {report}")
    print(f"  {'bench':<12} ok")


def told(answer: Mapping[str, Any]) -> str:
    """A text's answer, as far as it is a label."""
    return f"{answer['text']!r} is {answer['label']}" if "label" in answer else repr(answer["text"])


def size_lines(site: Path) -> Iterator[str]:
    """The bytes of every installed package, the largest first, and of bertc's own device part."""
    sizes = package_sizes(site)
    own = sum(path.stat().st_size for path in Path(targets.__file__).parent.rglob("*") if path.suffix in OURS)
    rows = sorted(sizes.items(), key=lambda row: -row[1])
    rows += [("bertc's targets", own), ("together", own + sum(sizes.values()))]
    for name, size in rows:
        yield f"{name:<20} {size / 1e6:7.2f} MB"


def package_sizes(site: Path) -> dict[str, int]:
    """Bytes of the files that each distribution in a folder says it has, by its name and version."""
    return {
        f"{each.name} {each.version}": sum(
            path.stat().st_size
            for path in {Path(str(file.locate())).resolve() for file in each.files or ()}
            if path.is_file() and path.suffix != ".pyc"
        )
        for each in distributions(path=[str(site)])
    }


def pip_lines() -> Iterator[str]:
    """For each class of devices, the one line that installs what it needs."""
    classes: dict[Pins, list[str]] = {}
    for spec in list_targets():
        for runtime in spec.runtimes:
            if runtime.name not in GPU_RUNTIMES:
                classes.setdefault(device_pins(spec, runtime.name), []).append(spec.id)
    for pins, names in classes.items():
        yield f"{pins.runtime} on {', '.join(names)}:"
        yield f"  {PIP} -r targets/requirements/{pins.file}"


def require(ok: bool, problem: str) -> None:
    if not ok:
        raise SystemExit(f"error: {problem}")
