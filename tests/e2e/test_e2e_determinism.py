"""Two processes that have next to nothing in common write the same bundles."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.compiling import TARGET, Checkpoints, everything, require_target

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
COMPILED = {"onnxruntime": TARGET, "openvino": TARGET, "tensorrt": "jetson-orin"}
TIMED = {"report/metrics.json", "report/report.html"}
"""The one file of a bundle that holds times."""
CODE = f"""
import sys
from compiler import compile_model
from tests.support.compiling import traced_once
model, data, threads = sys.argv[1:]
options = dict(max_drop=1.0, threads=int(threads), calibration_data=data, eval_data=data)
with traced_once():
    for runtime, target in {COMPILED!r}.items():
        done = compile_model(model, runtime, target=target, runtime=runtime, **options)
        print(done.bundles[0].content_digest)
"""


@functools.cache
def as_another() -> tuple[str, ...]:
    """The start of a command that is to run as nobody, who may read what this user may; empty if none can."""
    rights = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    prefix = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *rights)
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return ()
    probe = [*prefix, sys.executable, "-c", "import compiler.options"]
    ran = subprocess.run(probe, cwd=ROOT, capture_output=True, check=False)
    return prefix if ran.returncode == 0 else ()


@dataclass(frozen=True)
class Process:
    """What a process is told; no two are alike in it."""

    threads: int
    umask: int
    environment: dict[str, str]
    prefix: tuple[str, ...] = ()

    def start(self, folder: Path, model: Path, data: Path) -> subprocess.Popen[str]:
        """Compile in a folder, which is its home as well."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG"))}
        own = {"HOME": str(folder), "BERTC_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [*self.prefix, sys.executable, "-c", CODE, str(model), str(data), str(self.threads)],
            cwd=folder,
            env={**inherited, **own, **self.environment},
            umask=self.umask,
            stdout=subprocess.PIPE,
            text=True,
        )


@dataclass(frozen=True)
class Two:
    """The digests that two processes printed, and the folders that they worked in."""

    digests: tuple[list[str], list[str]]
    folders: tuple[Path, Path]

    def bundles(self, runtime: str) -> tuple[Path, Path]:
        first, second = (next((folder / runtime).glob("*.bundle")) for folder in self.folders)
        return first, second


def environment(hashes: str, locale: str, zone: str, threads: str) -> dict[str, str]:
    found = {"PYTHONHASHSEED": hashes, "LC_ALL": locale, "LANG": locale, "TZ": zone}
    return {**found, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}


@pytest.fixture(scope="module")
def two(checkpoint: Checkpoints, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Two:
    require_target()
    one = Process(1, 0o022, environment("1", "C", "UTC", "1"))
    other = Process(2, 0o077, environment("4242", "C.UTF-8", "Pacific/Kiritimati", "2"), as_another())
    folders = (tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other"))
    if other.prefix:
        os.chown(folders[1], NOBODY, NOBODY)
    model = checkpoint(layers=1)
    running = [each.start(folder, model, data) for each, folder in zip((one, other), folders, strict=True)]
    first, second = (process.communicate(timeout=300)[0].split() for process in running)
    assert [process.returncode for process in running] == [0, 0]
    return Two((first, second), folders)


def test_the_digests_are_equal(two: Two) -> None:
    first, second = two.digests
    assert len(first) == len(COMPILED)
    assert first == second


@pytest.mark.parametrize("runtime", COMPILED)
def test_every_file_but_the_times_is_the_same(two: Two, runtime: str) -> None:
    first, second = two.bundles(runtime)
    files = [path for path in everything(first) if (first / path).is_file()]
    assert files == [path for path in everything(second) if (second / path).is_file()]
    differing = [path for path in files if (first / path).read_bytes() != (second / path).read_bytes()]
    assert set(differing) <= {*TIMED, "bundle.json", "SHA256SUMS"}


@pytest.mark.parametrize("runtime", COMPILED)
def test_the_manifests_differ_in_the_entry_of_the_times_alone(two: Two, runtime: str) -> None:
    manifests = [json.loads((bundle / "bundle.json").read_bytes()) for bundle in two.bundles(runtime)]
    for each in manifests:
        assert each["validation"]["status"] == "passed"
        timed = [file for file in each["files"] if file["path"] in TIMED]
        assert len(timed) == len(TIMED)
        each["files"] = [file for file in each["files"] if file not in timed]
    assert manifests[0] == manifests[1]


@pytest.mark.parametrize("runtime", COMPILED)
def test_nothing_says_where_it_was_compiled(two: Two, runtime: str, checkpoint: Checkpoints) -> None:
    leaks = [*map(str, two.folders), str(checkpoint(layers=1).parent), os.uname().nodename]
    for bundle in two.bundles(runtime):
        for path in everything(bundle):
            if (bundle / path).is_file():
                content = (bundle / path).read_bytes()
                assert not [leak for leak in leaks if leak.encode() in content], path


def test_one_of_them_was_another_user(two: Two) -> None:
    if not as_another():
        pytest.skip("needs root and setpriv, to compile as another user")
    assert [bundle.stat().st_uid for bundle in two.bundles("onnxruntime")] == [0, NOBODY]
