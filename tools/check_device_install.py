"""Installs bertc as a device does, without any host package, and runs every device command on a bundle.

python -m tools.check_device_install out/NAME.bundle [out/OTHER.bundle ...]

For each bundle: a new virtual environment, `pip install .[RUNTIME]` with the pinned versions, and the time
from the start of a process to its first answer. Needs a package index; nothing is left behind.

python -m tools.check_device_install --emulate raspberry-pi-5 out/NAME.bundle

The same commands on a CPU that is not here, in the emulator's userland (`bertc emulator setup`), which has
just the pinned requirements of a device: how large each package is, and no times.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path

from targets.bundle.reader import Bundle
from targets.cli_errors import print_error
from targets.errors import BertcError
from tools.device_commands import FOUND, forbidden, sample_text
from tools.emulated_install import check_emulated, pip_lines

ROOT = Path(__file__).resolve().parent.parent
FIRST_ANSWER_S = 2.0
RUNS = 5


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--limit", type=float, default=FIRST_ANSWER_S, help="seconds to the first answer")
    parser.add_argument("--emulate", metavar="CPU", help="a target, or a CPU of `bertc emulator list`")
    options = parser.parse_args(argv)
    if options.emulate is not None:
        return emulated(options.bundles, options.emulate)
    slow = [path for path in options.bundles if check(path.resolve()) > options.limit]
    for path in slow:
        print(f"error: {path} took longer than {options.limit} s to its first answer", file=sys.stderr)
    return 1 if slow else 0


def emulated(bundles: Sequence[Path], cpu: str) -> int:
    try:
        for path in bundles:
            check_emulated(path.resolve(), cpu)
    except BertcError as error:
        print_error(error.message, error.hint)
        return error.exit_code
    print("what a device installs, by its target:")
    for line in pip_lines():
        print(f"  {line}")
    return 0


def check(bundle: Path) -> float:
    """Installs, runs everything once, and returns the median seconds to the first answer."""
    manifest = Bundle.open(bundle).manifest
    with tempfile.TemporaryDirectory(prefix="bertc-device-") as place:
        folder = Path(place)
        python = install(folder, manifest.runtime.backend)
        assert_absent(python, manifest.runtime.backend)
        bertc = python.with_name("bertc")
        installed = size(folder / "venv")
        print(f"{bundle.name}: {manifest.task} on {manifest.runtime.backend}, {installed} MB installed")
        for command in ("verify", "selftest"):
            report = json.loads(output(folder, bertc, command, bundle, "--json"))
            assert report["ok"] is True, report
            print(f"  {command:<9} ok")
        bench = json.loads(output(folder, bertc, "bench", bundle, "--json", "--seconds", "0.5"))
        for row in bench["shapes"]:
            print(f"  bench     {row['batch']}x{row['length']}: {row['p50_ms']:.2f} ms")
        print(f"  bench     load {bench['load_s']:.2f} s, {bench['rss_mb']:.0f} MiB")
        times = [first_answer(folder, bertc, bundle, manifest.task) for _ in range(RUNS)]
    median = statistics.median(times)
    print(
        f"  run       first answer after {times[0]:.2f} s, then {median:.2f} s (median of {RUNS} processes)"
    )
    return median


def install(folder: Path, runtime: str) -> Path:
    """A virtual environment with bertc and one runtime, made from a copy of the sources."""
    sources = folder / "sources"
    sources.mkdir()
    for name in ("compiler", "calibration", "targets"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt"):
        shutil.copy(ROOT / name, sources / name)
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    output(sources, *pip, "--constraint", "constraints.txt", f".[{runtime}]")
    shutil.rmtree(sources)
    return python


def assert_absent(python: Path, runtime: str) -> None:
    found = json.loads(output(python.parent, python, "-I", "-c", FOUND, *forbidden(runtime)))
    assert found == [], f"a device gets {', '.join(found)} too"


def first_answer(folder: Path, bertc: Path, bundle: Path, task: str) -> float:
    """Seconds from the start of the process until its first line is read."""
    texts = sample_text(bundle, task)
    begin = time.perf_counter()
    with subprocess.Popen(
        [bertc, "run", bundle, "--json", *texts], cwd=folder, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        spent = time.perf_counter() - begin
    assert process.returncode == 0
    assert json.loads(line)["text"]
    return spent


def output(folder: Path, *command: object) -> str:
    done = subprocess.run(
        [str(each) for each in command], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def size(folder: Path) -> int:
    return round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6)


if __name__ == "__main__":
    sys.exit(main())
