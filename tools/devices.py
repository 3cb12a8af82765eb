"""`python -m tools.devices`: a checkpoint on devices that are not here, and what naive recipes do there."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import click

from calibration.data import open_dataset
from compiler.cli.console import console_progress
from compiler.cli.host import require_host
from compiler.compile import compile_model
from compiler.emulate.cpus import EmulatedCpu, emulated_cpu
from compiler.emulate.guest import open_emulated, open_emulated_model
from compiler.emulate.qemu import find_qemu, qemu_version
from compiler.emulate.readiness import require_emulator
from compiler.ir.execute import serialize
from compiler.progress import Clock, by_totals
from compiler.report.files import INTEGER, REFERENCE, SAMPLE
from compiler.revalidate import kept_answers
from compiler.sessions import bundle_encoder, open_session
from compiler.validate import Evaluator, Predictions, distance, make_evaluator
from targets.bundle.reader import Bundle
from targets.cli_errors import main_guard
from targets.detect import machine
from targets.registry import get_target
from targets.runtime.backends import open_backend_from_path
from targets.runtime.backends.base import Backend
from targets.spec import TargetSpec
from tools.bench_report import environment
from tools.compare_peers import command_line, interpreters
from tools.contestants import Source
from tools.devices_report import Row, page
from tools.make_peer import PeerError, make, require, write_feeds, write_origins
from tools.measure import Loaded, load
from tools.recipes import RECIPES, Recipe

TARGETS = ("raspberry-pi-5", "raspberry-pi-4", "x86-64-avx2", "x86-64-vnni")
NAIVE = {"nncf": 0, "onnxruntime": 2}
"""Recipes by key, and the place among those of a key in `tools.recipes`; their first variants are made."""
TRAP = "x86-64-avx2"
HERE = "this machine"
_PATH = click.Path(path_type=Path)


@click.command("tools.devices", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", required=True, metavar="MODEL", help="The checkpoint.")
@click.option("--calibration-data", required=True, type=_PATH, metavar="FILE", help="Text to calibrate on.")
@click.option("--eval-data", required=True, type=_PATH, metavar="FILE", help="Text to evaluate on.")
@click.option("--samples", type=click.IntRange(min=8), default=200, show_default=True, help="Texts of it.")
@click.option(
    "--target", "targets", multiple=True, default=TARGETS, show_default=True, help="May be given again."
)
@click.option(
    "--naive",
    "pythons",
    multiple=True,
    metavar="NAME=PYTHON",
    help=f"Also a naive recipe ({', '.join(NAIVE)}), made by that interpreter; may be given again.",
)
@click.option("--trap/--no-trap", default=True, help="Also bertc's own model with weights of full range.")
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="Of every run.")
@click.option("--docs", type=_PATH, metavar="FILE", help="Write the page of the documentation here.")
def devices_command(
    model: str,
    calibration_data: Path,
    eval_data: Path,
    samples: int,
    targets: Sequence[str],
    pythons: Sequence[str],
    trap: bool,
    threads: int,
    docs: Path | None,
) -> None:
    """Compile a checkpoint for every target and measure it there, emulated where it is not this machine."""
    require_host()
    source = Source(model, calibration_data, eval_data, 300, threads)
    subjects = [Subject.named(each) for each in targets]
    with (
        tempfile.TemporaryDirectory(prefix="bertc-devices-") as temporary,
        console_progress(quiet=False) as progress,
    ):
        study = Study(source, samples, Path(temporary), Clock(progress))
        rows = [row for subject in subjects for row in study.target(subject)]
        if trap:
            rows += study.target(full_range(Path(temporary)))
        for key, python in interpreters(pythons).items():
            recipe = [each for each in RECIPES if each.key == key][NAIVE[key]]
            rows += study.naive(recipe, python)
    where = environment(machine(), command_line("tools.devices", sys.argv[1:]))
    qemu = find_qemu("avx2")
    text = page(rows, samples, {**where, "qemu": "" if qemu is None else qemu_version(qemu)})
    click.echo(text)
    if docs is not None:
        docs.write_text(text, encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Subject:
    """A target to compile for.

    Attributes:
        spec: what is known of it.
        name: its id, or the path of its profile.
        label: in the table.
    """

    spec: TargetSpec
    name: str
    label: str

    @classmethod
    def named(cls, name: str) -> Subject:
        """As `--target` names it."""
        spec = get_target(name)
        return cls(spec, name, spec.id)


def full_range(folder: Path) -> Subject:
    """The profile of the trap with weights of full range, written into a folder."""
    text = (files("targets") / "profiles" / f"{TRAP}.toml").read_text(encoding="utf-8")
    path = folder / "full-range.toml"
    path.write_text(text.replace(TRAP, "avx2-full-range").replace("weight_qmax = 64", "weight_qmax = 127"))
    return Subject(get_target(path), str(path), "weights of full range")


@dataclass(frozen=True, slots=True)
class _Known:
    """What a bundle keeps of the sample."""

    evaluator: Evaluator
    fp32: Predictions
    integer: Predictions


class Study:
    """One checkpoint on many CPUs."""

    def __init__(self, source: Source, samples: int, folder: Path, clock: Clock) -> None:
        self._source, self._samples, self._folder, self._clock = source, samples, folder, clock
        self._known: _Known | None = None

    def target(self, subject: Subject) -> list[Row]:
        """What is predicted of each of its runtimes, and what it computes."""
        found = []
        label = f"bertc, {subject.label}"
        for profile in subject.spec.runtimes:
            bundle = self._compile(subject, profile.name)
            known = self._kept(bundle)
            self._known = known
            with ExitStack() as stack:
                backend, where, evidence = self._opened(bundle, subject.spec, stack)
                answers = self._answers(backend, bundle, f"{subject.label} on {profile.name}")
            found.append(_row(label, "its integer reference", "predicted", known, known.integer))
            found.append(_row(label, f"{profile.name}, {where}", evidence, known, answers))
        return found

    def naive(self, recipe: Recipe, python: str) -> Iterator[Row]:
        """A recipe's model on this machine and on the emulated CPU of the trap."""
        require(recipe, python)
        with self._clock.stage(f"making {recipe.name}"):
            loaded = load(self._source.model)
            path = self._make(recipe, python, loaded)
        cpu = emulated_cpu(get_target(TRAP))
        yield self._model(recipe, path, loaded, None)
        yield self._model(recipe, path, loaded, cpu)

    def _make(self, recipe: Recipe, python: str, loaded: Loaded) -> Path:
        export = self._folder / "export.onnx"
        export.write_bytes(serialize(loaded.model))
        origins = write_origins(self._source, loaded, export, self._folder)
        feeds = write_feeds(self._source, loaded, [0], self._folder)[0]
        config: Any = loaded.reference.wrapper.model.config
        more = {
            "task": loaded.checkpoint.task,
            "heads": int(config.num_attention_heads),
            "hidden": int(config.hidden_size),
        }
        folder = self._folder / recipe.key
        return make(recipe, recipe.variants[0], python, origins[recipe.origin], feeds, folder, **more).path

    def _model(self, recipe: Recipe, path: Path, loaded: Loaded, cpu: EmulatedCpu | None) -> Row:
        if self._known is None:
            raise PeerError("a naive recipe is compared on the texts of a target: give one")
        checkpoint, threads = loaded.checkpoint, self._source.threads
        with ExitStack() as stack:
            if cpu is None:
                backend: Backend = open_backend_from_path(recipe.runtime, path, threads=threads)
                where, evidence = HERE, "measured"
            else:
                userland = require_emulator(cpu.userland)
                backend = stack.enter_context(
                    open_emulated_model(recipe.runtime, path, cpu, userland, threads=threads)
                )
                where, evidence = cpu.id, "emulated"
            session = stack.enter_context(
                open_session(backend, loaded.encoder, checkpoint.task, checkpoint.task_config)
            )
            answers = self._predict(session, f"{recipe.name} on {where}")
        return _row(f"naive: {recipe.name}", where, evidence, self._known, answers, exact=False)

    def _compile(self, subject: Subject, runtime: str) -> Bundle:
        folder = self._folder / runtime
        result = compile_model(
            self._source.model,
            folder,
            target=subject.name,
            runtime=runtime,  # type: ignore[arg-type, unused-ignore]
            calibration_data=self._source.calibration,
            calibration_samples=self._source.samples,
            eval_data=self._source.evaluation,
            eval_samples=self._samples,
            emulated_samples=self._samples,
            validate_emulated=subject.spec.emulation is None,
            max_drop=1.0,
            threads=self._source.threads,
            progress=self._clock.progress,
        )
        return Bundle.open(result.bundles[0].path)

    def _kept(self, bundle: Bundle) -> _Known:
        manifest = bundle.manifest
        data = open_dataset(self._source.evaluation, manifest.task)
        encoder = bundle_encoder(bundle)
        evaluator = make_evaluator(
            data, manifest.task, manifest.task_config, encoder, limit=self._samples, seed=0
        )
        fp32 = kept_answers(bundle, evaluator, REFERENCE, SAMPLE)
        integer = kept_answers(bundle, evaluator, INTEGER)
        if fp32 is None or integer is None:
            raise SystemExit("the bundle keeps no answers to these texts")
        return _Known(evaluator, fp32, integer)

    def _opened(self, bundle: Bundle, spec: TargetSpec, stack: ExitStack) -> tuple[Backend, str, str]:
        if spec.emulation is None:
            return (
                stack.enter_context(bundle.session(threads=self._source.threads)).backend,
                HERE,
                "measured",
            )
        cpu = emulated_cpu(spec)
        userland = require_emulator(cpu.userland)
        opened = open_emulated(bundle, cpu, userland, threads=self._source.threads)
        return stack.enter_context(opened), cpu.id, "emulated"

    def _answers(self, backend: Backend, bundle: Bundle, stage: str) -> Predictions:
        manifest = bundle.manifest
        session = open_session(backend, bundle_encoder(bundle), manifest.task, manifest.task_config)
        return self._predict(session, stage)

    def _predict(self, session: Any, stage: str) -> Predictions:
        if self._known is None:
            raise SystemExit("nothing was compiled yet")
        evaluator = self._known.evaluator
        with self._clock.stage(stage, len(evaluator.items)) as advance:
            return evaluator.predict(session, by_totals(advance))


def _row(
    model: str, where: str, evidence: str, known: _Known, answers: Predictions, *, exact: bool = True
) -> Row:
    evaluator = known.evaluator
    validation = evaluator.compare(known.fp32, answers, max_drop=1.0, evidence=evidence)
    apart = distance(evaluator, known.fp32, answers)
    integers = distance(evaluator, known.integer, answers) if exact and evidence != "predicted" else None
    return Row(model, where, evidence, validation, apart, integers)


if __name__ == "__main__":
    sys.exit(main_guard(devices_command, prog_name="tools.devices"))
