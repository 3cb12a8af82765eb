"""Fuzzes the readers of bundles: guided by coverage where atheris is installed, by mutations where not.

    python -m tools.fuzz_bundle [--target NAME ...] [--seconds 60] [--seed 0] [--keep FOLDER]

Exit code 1 where a reader broke a rule, whose bytes are kept in the folder, or where nothing was read.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.hostile import READERS, Reader, temporary

_EXECUTED: Final = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_COVERED: Final = re.compile(r"cov: (\d+)")
_MOST: Final = 20
_HINT: Final = "atheris is not installed: without its coverage. To have it: pip install atheris"


@dataclass
class Report:
    """What came of one target.

    Attributes:
        target: its name.
        how: "coverage" or "mutations".
        executions: how many inputs were read.
        accepted: how many of them were accepted; None where it was not counted.
        covered: edges of the code that were reached; None without atheris.
        findings: files with inputs that broke a rule.
    """

    target: str
    how: str
    executions: int = 0
    accepted: int | None = None
    covered: int | None = None
    findings: list[Path] = field(default_factory=list)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--target", action="append", choices=sorted(READERS), help="more than one may be given"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="folder for findings")
    parser.add_argument("--mutations", action="store_true", help="even where atheris is installed")
    parser.add_argument("--under-atheris", metavar="TARGET", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args(argv)
    if options.under_atheris:
        _under_atheris(options.under_atheris, rest)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    guided = not options.mutations and importlib.util.find_spec("atheris") is not None
    if not guided and not options.mutations:
        print(_HINT, file=sys.stderr)
    broken = False
    for target in options.target or READERS:
        call = _guided if guided else _mutated
        report = call(target, options.seconds, options.seed, options.keep)
        print(_line(report), flush=True)
        broken = broken or bool(report.findings) or not report.executions
    return 1 if broken else 0


def _line(report: Report) -> str:
    parts = [f"{report.target:<10} {report.executions:>9} executions by {report.how}"]
    if report.accepted is not None:
        parts.append(f"{report.accepted} accepted")
    if report.covered is not None:
        parts.append(f"{report.covered} edges")
    parts.append(f"{len(report.findings)} findings" + "".join(f"\n  {path}" for path in report.findings))
    return ", ".join(parts)


def _mutated(target: str, seconds: float, seed: int, keep: Path) -> Report:
    """Mutations of seeds, and of mutations that were accepted."""
    reader, folder = temporary(target)
    report = Report(target, "mutations", accepted=0)
    chance = random.Random(seed)
    pool = list(reader.seeds)
    with folder:
        end = time.monotonic() + seconds
        while time.monotonic() < end and len(report.findings) < _MOST:
            data = reader.mutate(chance, chance.choice(pool))
            report.executions += 1
            problem = _problem(reader, data)
            if problem is None:
                report.findings.append(_kept(keep, target, data))
            elif problem:
                report.accepted = (report.accepted or 0) + 1
                if len(pool) < 200 and len(data) < 1 << 20:
                    pool.append(data)
    return report


def _problem(reader: Reader, data: bytes) -> bool | None:
    """Whether it was accepted; None where a rule broke."""
    try:
        return reader.read(data)
    except KeyboardInterrupt:
        raise
    except BaseException:
        traceback.print_exc()
        return None


def _kept(keep: Path, target: str, data: bytes) -> Path:
    keep.mkdir(parents=True, exist_ok=True)
    path = keep / f"{target}-{hashlib.sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    return path


def _guided(target: str, seconds: float, seed: int, keep: Path) -> Report:
    """libFuzzer over the seeds, in a process that it ends itself."""
    report = Report(target, "coverage")
    keep.mkdir(parents=True, exist_ok=True)
    before = set(keep.iterdir())
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        command = [
            *(sys.executable, "-m", "tools.fuzz_bundle", "--under-atheris", target, str(corpus)),
            *(f"-max_total_time={max(1, round(seconds))}", f"-seed={seed + 1}", "-print_final_stats=1"),
            *(f"-artifact_prefix={keep}/{target}-", "-max_len=65536", "-timeout=20", "-rss_limit_mb=4096"),
        ]
        done = subprocess.run(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, errors="replace"
        )
    executed, covered = _EXECUTED.search(done.stderr), _COVERED.findall(done.stderr)
    report.executions = int(executed[1]) if executed else 0
    report.covered = int(covered[-1]) if covered else None
    report.findings = sorted(set(keep.iterdir()) - before)
    if report.findings or not executed:
        sys.stderr.write(done.stderr[-6000:])
    if not any(keep.iterdir()):
        keep.rmdir()
    return report


def _under_atheris(target: str, arguments: Sequence[str]) -> None:
    """Does not return: libFuzzer ends the process."""
    import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]

    for name in list(sys.modules):
        if name == "targets" or name.startswith(("targets.", "tests.support")):
            del sys.modules[name]
    with atheris.instrument_imports(include=["targets"]):
        from tests.support.hostile import temporary as instrumented
    reader, folder = instrumented(target)
    corpus = Path(next(each for each in arguments if not each.startswith("-")))
    for number, seed in enumerate(reader.seeds):
        (corpus / str(number)).write_bytes(seed)
    words = corpus.with_name("words")
    lines = ("".join(f"\\x{byte:02x}" for byte in word) for word in reader.words)
    words.write_text("".join(f'"{line}"\n' for line in lines))
    with folder:
        atheris.Setup([sys.argv[0], f"-dict={words}", *arguments], reader.read)
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
