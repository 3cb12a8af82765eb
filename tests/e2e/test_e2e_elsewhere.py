"""Whole compiles for CPUs that are not here: simulated, or emulated with this CPU in QEMU's place."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import compiler.attempts as attempts
import compiler.compile as stages
import compiler.emulate.validation as emulation
import compiler.integer_answers as integer_answers
import compiler.packing as packing
import compiler.preparation as preparation
import compiler.sessions as sessions
from calibration import open_dataset
from compiler.emulate.cpus import EmulatedCpu
from compiler.emulate.guest import PipeBackend
from compiler.emulate.qemu import Command
from compiler.emulate.userland import Userland
from compiler.integer.reference import IntegerReference
from compiler.report.text import validation_rows
from compiler.result import CompileResult
from compiler.sessions import bundle_encoder, open_session
from compiler.validate import Evaluator, Predictions, load_predictions, make_evaluator
from targets import Bundle
from targets.detect import machine
from targets.errors import (
    AccuracyGateError,
    IncompatibleError,
    MissingBackendError,
    UnsupportedError,
    UsageError,
)
from targets.runtime.backends.base import Backend
from targets.runtime.selftest import compare, parse_selftest
from tests.support.compiling import QUICK, Recorder, bertc, build, everything, own_caches
from tests.support.emulators import VERSION

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = 12
ARM = ("raspberry-pi-5", "arm64-generic")
PROFILE = """
id = "old-nuc"
description = "AVX2 without VNNI, quantized as if it had it"
arch = "x86_64"
os = "linux"
cpu_features = [["avx2"]]
memory_mb = 1
threads = 0
evidence = "measured"

[[runtimes]]
name = "onnxruntime"

[runtimes.scheme]
activation = "u8"
asymmetric = true
weight_qmax = 127
attention_products = "float"
bias = "float"
"""


@dataclass
class Spy:
    """Every integer reference that a compile makes, and every one that it could have made in its place."""

    made: list[tuple[Any, Any, bool]]

    def again(self, place: int, *, saturating: bool) -> IntegerReference:
        model, plan, _ = self.made[place]
        return IntegerReference(model, plan, saturating=saturating)


@contextmanager
def spied() -> Iterator[Spy]:
    spy = Spy([])

    def make(model: Any, plan: Any, *, saturating: bool = False) -> IntegerReference:
        spy.made.append((model, plan, saturating))
        return IntegerReference(model, plan, saturating=saturating)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(integer_answers, "IntegerReference", make)
        yield spy


@contextmanager
def dot_products(*, here: bool) -> Iterator[None]:
    """This machine with VNNI, or without."""
    this = machine()
    plain = frozenset(each for each in this.cpu_features if "vnni" not in each and not each.startswith("amx"))
    told = replace(this, cpu_features=plain | ({"avx512_vnni"} if here else set()))
    with pytest.MonkeyPatch.context() as patch:
        for module in (packing, preparation, attempts, sessions):
            patch.setattr(module, "machine", lambda: told)
        yield


def evaluator_of(bundle: Bundle, data: Path, limit: int | None = None) -> Evaluator:
    manifest = bundle.manifest
    rows = open_dataset(str(data), manifest.task)
    return make_evaluator(
        rows, manifest.task, manifest.task_config, bundle_encoder(bundle), limit=limit, seed=0
    )


def answers(bundle: Bundle, evaluator: Evaluator, backend: Backend) -> Predictions:
    manifest = bundle.manifest
    with open_session(backend, bundle_encoder(bundle), manifest.task, manifest.task_config) as session:
        return evaluator.predict(session)


def kept(bundle: Bundle, name: str, evaluator: Evaluator) -> Predictions:
    found = load_predictions(bundle.read(f"report/{name}"), evaluator.digest)
    assert found is not None, f"{name} belongs to other texts"
    return found


def same(one: Predictions, other: Predictions) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@dataclass(frozen=True)
class Arm:
    """Two ARM targets, compiled at once."""

    result: CompileResult
    spy: Spy
    progress: Recorder


@pytest.fixture(scope="module")
def arm(onnx_model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Arm:
    folder, progress = tmp_path_factory.mktemp("arm"), Recorder()
    with own_caches(folder / "cache"), spied() as spy:
        result = stages.compile_model(
            onnx_model,
            folder / "out",
            target=ARM,
            calibration_data=data,
            eval_data=data,
            emulated_samples=SAMPLE,
            progress=progress,
            **QUICK,
        )
    return Arm(result, spy, progress)


def test_what_is_not_here_is_simulated(arm: Arm, data: Path) -> None:
    """By the exact integer reference, on the evaluation data and on the sample."""
    for result in arm.result.bundles:
        bundle = Bundle.open(result.path)
        evaluator, sample = evaluator_of(bundle, data), evaluator_of(bundle, data, SAMPLE)
        assert (evaluator.n, sample.n) == (24, SAMPLE)
        baseline = kept(bundle, "reference.npz", evaluator)
        integer = answers(bundle, evaluator, arm.spy.again(0, saturating=False))
        expected = evaluator.compare(baseline, integer, max_drop=1.0, evidence="simulated")
        assert result.validation == expected
        assert "integer" not in result.validation.to_json()
        on_sample = answers(bundle, sample, arm.spy.again(0, saturating=False))
        assert same(kept(bundle, "sample-integer.npz", sample), on_sample)
        assert kept(bundle, "sample-fp32.npz", sample).keys() == on_sample.keys()
        assert not same(kept(bundle, "sample-fp32.npz", sample), on_sample)
        bundle.verify()
        metrics = json.loads(bundle.read("report/metrics.json"))
        assert metrics["validation"]["evidence"] == "simulated"
        assert bundle.manifest.validation == result.validation.to_json()


def test_targets_share_what_was_computed(arm: Arm) -> None:
    assert [saturating for _, _, saturating in arm.spy.made] == [False, False]
    assert arm.progress.started.count("simulating raspberry-pi-5 on integers") == 2
    assert "simulating arm64-generic on integers" not in arm.progress.started
    assert arm.progress.started.count("calibrating") == 1
    assert arm.progress.steps["simulating raspberry-pi-5 on integers"] == 24 + SAMPLE
    first, second = arm.result.bundles
    assert [first.target, second.target] == list(ARM)


def test_nothing_is_timed(arm: Arm) -> None:
    assert not any("timing" in each or "validating on" in each for each in arm.progress.started)
    for result in arm.result.bundles:
        assert result.runtime == "onnxruntime"
        assert [each["p50_ms"] for each in result.candidates] == [{}]
    assert [each for each in arm.progress.started if each.startswith("lowering")] == [
        "lowering to onnxruntime"
    ] * 2
    assert arm.progress.warnings == []


def test_a_cpu_without_dot_products_is_not_measured_on_one_with(
    onnx_model: Path, data: Path, out: Path
) -> None:
    """Only the first of its two runtimes is built, and neither is timed."""
    with spied() as spy, dot_products(here=True):
        built = build(onnx_model, out, target="x86-64-avx2", calibration_data=data, eval_data=data)
    assert built.result.validation.evidence == "simulated"
    assert [saturating for _, _, saturating in spy.made] == [True]
    assert [each["runtime"] for each in built.result.candidates] == ["openvino"]
    assert not any("timing" in each for each in built.progress.started)
    assert "lowering to onnxruntime" not in built.progress.started
    bundle = Bundle.open(built.path)
    evaluator = evaluator_of(bundle, data)
    # There are fewer texts than --emulated-samples: FP32's answers to all of them are those to the sample.
    assert "report/sample-fp32.npz" not in bundle
    assert kept(bundle, "reference.npz", evaluator)
    integer = kept(bundle, "sample-integer.npz", evaluator)
    assert same(integer, answers(bundle, evaluator, spy.again(0, saturating=True)))
    assert same(integer, answers(bundle, evaluator, spy.again(0, saturating=False))), "+-64 cannot saturate"


def test_a_cpu_with_dot_products_is_simulated_without(onnx_model: Path, data: Path, out: Path) -> None:
    """A compile is refused for no target; what this machine is not, it computes exactly."""
    with spied() as spy, dot_products(here=False):
        built = build(onnx_model, out, target="x86-64-vnni", calibration_data=data, eval_data=data)
    assert built.result.validation.evidence == "simulated"
    assert [saturating for _, _, saturating in spy.made] == [False, False], "for the texts, and the self-test"
    assert not any("timing" in each for each in built.progress.started)


@pytest.mark.parametrize("emulate", [False, True])
def test_it_is_measured_on_its_like(onnx_model: Path, data: Path, out: Path, emulate: bool) -> None:
    with spied() as spy, dot_products(here=False):
        built = build(
            onnx_model,
            out,
            target="x86-64-avx2",
            runtime="onnxruntime",
            calibration_data=data,
            eval_data=data,
            validate_emulated=emulate,
        )
    assert built.result.validation.evidence == "measured"
    assert "validating on onnxruntime" in built.progress.started
    assert len(spy.made) == 1, "for the sample, which is all of it, alone"
    assert [path.name for path in (built.path / "report").glob("sample-*.npz")] == ["sample-integer.npz"]
    told = [each for each in built.progress.warnings if "measured, not emulated" in each]
    assert len(told) == emulate


def test_saturation_is_predicted(onnx_model: Path, data: Path, out: Path, tmp_path: Path) -> None:
    profile = tmp_path / "old-nuc.toml"
    profile.write_text(PROFILE)
    with spied() as spy, dot_products(here=True):
        built = build(onnx_model, out, target=str(profile), calibration_data=data, eval_data=data)
    assert [saturating for _, _, saturating in spy.made] == [True, True], "for the texts, and the self-test"
    bundle = Bundle.open(built.path)
    evaluator = evaluator_of(bundle, data)
    baseline = kept(bundle, "reference.npz", evaluator)
    saturated, exact = (answers(bundle, evaluator, spy.again(0, saturating=each)) for each in (True, False))
    assert not same(saturated, exact)
    found = evaluator.compare(baseline, saturated, max_drop=1.0, evidence="simulated")
    assert built.result.validation == found
    far, near = (np.abs(each["logits"] - baseline["logits"]).mean() for each in (saturated, exact))
    assert far > near
    # The profile names no CPU to emulate, so that nothing is kept for it.
    assert not [path for path in everything(built.path) if "sample" in path]


def test_the_self_test_of_cpus_that_saturate_otherwise_is_that_of_the_reference(
    onnx_model: Path, data: Path, out: Path, tmp_path: Path
) -> None:
    """What this CPU computes of a full-range model is not what the other one does."""
    profile = tmp_path / "old-nuc.toml"
    profile.write_text(PROFILE)
    with spied() as spy, dot_products(here=True):
        built = build(onnx_model, out, target=str(profile), calibration_data=data, eval_data=data)
    golden = parse_selftest(Bundle.open(built.path).read("selftest.json"))
    bundle = Bundle.open(built.path)
    for saturating in (True, False):
        backend = spy.again(0, saturating=saturating)
        with open_session(
            backend, bundle_encoder(bundle), bundle.manifest.task, bundle.manifest.task_config
        ) as it:
            report = compare(golden, it)
        assert (max(report.max_abs.values()) < 1e-5) == saturating


@pytest.mark.parametrize("option", [{"precision": "auto"}, {"prune": "auto"}])
def test_auto_does_not_judge_by_kernels_that_saturate_otherwise(
    onnx_model: Path, data: Path, out: Path, tmp_path: Path, option: dict[str, Any]
) -> None:
    profile = tmp_path / "old-nuc.toml"
    profile.write_text(PROFILE)
    with (
        dot_products(here=True),
        pytest.raises(UnsupportedError, match="saturate otherwise than those of old-nuc"),
    ):
        build(onnx_model, out, target=str(profile), calibration_data=data, eval_data=data, **option)


def test_a_runtime_that_cannot_is_left_out_and_none_that_can_is_refused(
    onnx_model: Path, data: Path, out: Path, tmp_path: Path
) -> None:
    """OpenVINO has no right INT8 products on ARM; onnxruntime has, though the profile prefers OpenVINO."""
    profile = tmp_path / "board.toml"
    both = (
        PROFILE.replace("x86_64", "aarch64").replace('[["avx2"]]', '[["asimd"]]').replace("old-nuc", "board")
    )
    head, table = both.split("[[runtimes]]")
    profile.write_text(
        head + "[[runtimes]]" + table.replace("onnxruntime", "openvino") + "\n[[runtimes]]" + table
    )
    built = build(onnx_model, out, target=str(profile), calibration_data=data, eval_data=data)
    assert built.result.runtime == "onnxruntime"
    assert any("OpenVINO's ARM kernels" in each for each in built.progress.warnings)
    with pytest.raises(UnsupportedError, match="OpenVINO's ARM kernels"):
        build(onnx_model, out, target=str(profile), runtime="openvino", calibration_data=data)


def test_float_bundles_have_no_integers(onnx_model: Path, data: Path, out: Path) -> None:
    """They run here in another's place, and FP32's answers to the sample are kept all the same."""
    with spied() as spy:
        built = build(
            onnx_model,
            out,
            target="raspberry-pi-4",
            precision="fp32",
            eval_data=data,
            emulated_samples=SAMPLE,
        )
    assert built.result.validation.evidence == "simulated"
    assert built.result.validation.agreement == 1.0
    assert spy.made == []
    assert "simulating onnxruntime" in built.progress.started
    bundle = Bundle.open(built.path)
    assert kept(bundle, "sample-fp32.npz", evaluator_of(bundle, data, SAMPLE))
    assert "report/sample-integer.npz" not in bundle


def test_dynamic_integers_are_simulated_where_onnxruntime_has_them(
    onnx_model: Path, data: Path, out: Path
) -> None:
    with spied() as spy:
        built = build(onnx_model, out, target="raspberry-pi-4", precision="int8-dynamic", eval_data=data)
    assert built.result.validation.evidence == "simulated"
    assert [saturating for _, _, saturating in spy.made] == [False], "for the sample too, which is all of it"
    bundle = Bundle.open(built.path)
    evaluator = evaluator_of(bundle, data)
    integer = answers(bundle, evaluator, spy.again(0, saturating=False))
    assert same(kept(bundle, "sample-integer.npz", evaluator), integer)


def emulated_options(data: Path, *more: object) -> tuple[object, ...]:
    return ("--calibration-data", data, "--eval-data", data, "--ranges", "minmax", "--max-drop", 1, *more)


def test_an_emulator_is_missing_before_the_work(onnx_model: Path, data: Path, out: Path) -> None:
    done = bertc(
        *("compile", onnx_model, "-o", out, "--target", "x86-64-avx2", "--target", "raspberry-pi-5"),
        *emulated_options(data, "--validate-emulated"),
    )
    done.fails(7, "the emulator avx2 is not set up", "bertc emulator setup avx2")
    assert done.err.splitlines() == done.errors, "no stage has begun"
    assert not out.exists()


def test_qemu_is_missing_before_the_work(
    onnx_model: Path, data: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import compiler.emulate.readiness as readiness

    monkeypatch.setattr(readiness, "require_userland", lambda name: Userland(name, out / "none", {}))
    monkeypatch.setenv("PATH", str(out))
    done = bertc(
        *("compile", onnx_model, "-o", out, "--target", "raspberry-pi-5"),
        *emulated_options(data, "--validate-emulated"),
    )
    done.fails(7, "there is no qemu-aarch64 of 10 or later", "bertc emulator setup arm64")
    assert done.err.splitlines() == done.errors
    bertc("validate", out, "--eval-data", data, "--emulate", "raspberry-pi-5").fails(2)


@pytest.mark.parametrize(
    ("options", "code", "part"),
    [
        (("--target", "raspberry-pi-5", "--precision", "fp32", "--validate-emulated"), 2, "--eval-data FILE"),
        (("--target", "x86-64-vnni", "--eval-data", "DATA", "--validate-emulated"), 3, "cannot be emulated"),
        (
            ("--target", "raspberry-pi-5", "--eval-data", "DATA", "--emulated-samples", 7),
            2,
            "--emulated-samples 7",
        ),
    ],
)
def test_what_cannot_be_emulated(
    onnx_model: Path, data: Path, out: Path, options: tuple[object, ...], code: int, part: str
) -> None:
    given = [data if each == "DATA" else each for each in options]
    with dot_products(here=False):
        done = bertc("compile", onnx_model, "-o", out, "--calibration-data", data, *given)
    done.fails(code, part)
    assert done.err.splitlines() == done.errors
    assert not out.exists()


class Wrong(PipeBackend):
    """Answers the opposite."""

    def run(self, feeds: Any, outputs: Any = None) -> Any:
        return {name: -value for name, value in super().run(feeds, outputs).items()}


class Failing(PipeBackend):
    """A device on which the self-test fails."""

    def __init__(self, command: Command) -> None:
        super().__init__(command)
        self.hello["selftest"]["ok"] = False


class Crashing(PipeBackend):
    """A device on which the runtime crashes at the first batch."""

    def run(self, feeds: Any, outputs: Any = None) -> Any:
        self._process.kill()
        return super().run(feeds, outputs)


@dataclass
class Stand:
    """What stands in for the emulated CPU: the bundles that it ran."""

    kind: type[PipeBackend] = PipeBackend
    ran: list[tuple[Path, str, int]] = None  # type: ignore[assignment]


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    """Emulation in which this machine's Python is QEMU, and the emulator of avx2 is ready."""
    found = Stand(ran=[])
    userland = Userland("avx2", Path("none"), {})

    @contextmanager
    def opened(
        bundle: Bundle, cpu: EmulatedCpu, there: Userland, *, threads: int = 0
    ) -> Iterator[PipeBackend]:
        assert there is userland
        found.ran.append((bundle.path, cpu.id, threads))
        arguments = (sys.executable, "-m", "targets.runtime.pipe", str(bundle.path), str(threads))
        with closing(found.kind(Command(arguments, {**os.environ, "PYTHONPATH": str(ROOT)}))) as backend:
            yield backend

    def ready(name: str) -> Userland:
        if name != "avx2":
            raise MissingBackendError(f"the emulator {name} is not set up", f"set {name} up")
        return userland

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emulation, "open_emulated", opened)
        patch.setattr(emulation, "require_emulator", ready)
        patch.setattr(preparation, "require_emulator", ready)
        patch.setattr(emulation, "find_qemu", lambda name: Path(f"qemu-of-{name}"))
        patch.setattr(emulation, "qemu_version", {Path("qemu-of-avx2"): VERSION}.__getitem__)
        yield found


def emulated(onnx_model: Path, data: Path, out: Path, **options: Any) -> Any:
    given = {
        "target": "x86-64-avx2",
        "runtime": "onnxruntime",
        "calibration_data": data,
        "eval_data": data,
        "validate_emulated": True,
        "emulated_samples": SAMPLE,
        "threads": 1,
    }
    with dot_products(here=True):
        return build(onnx_model, out, **{**given, **options})


@pytest.fixture(scope="module")
def ran(stand: Stand, onnx_model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A bundle that was run under emulation before it was published. Tests must not write into it."""
    folder = tmp_path_factory.mktemp("ran")
    assert stand.kind is PipeBackend
    with own_caches(folder / "cache"):
        return emulated(onnx_model, data, folder / "out")


@pytest.fixture
def as_kind(stand: Stand) -> Iterator[Stand]:
    yield stand
    stand.kind = PipeBackend


def test_a_record_of_an_emulated_run(ran: Any, stand: Stand, data: Path) -> None:
    validation = ran.result.validation
    assert (validation.evidence, validation.status, validation.n) == ("emulated", "passed", SAMPLE)
    assert validation.emulator == {
        "cpu": "haswell",
        "qemu": VERSION,
        "runtime": "onnxruntime",
        "version": validation.emulator["version"],
        "selftest": True,
    }
    assert validation.integer["agreement"] == 1.0
    assert validation.integer["max_abs"] < 0.05
    assert 0 <= validation.integer["mse"] <= validation.integer["max_abs"] ** 2
    assert validation.simulated.evidence == "simulated"
    assert validation.simulated.n == 24
    assert validation.simulated.simulated is None
    draft, cpu, threads = stand.ran[0]
    assert (cpu, threads) == ("haswell", 1)
    assert draft != ran.path
    assert not draft.exists()
    assert draft.name == ran.path.name
    assert ran.progress.steps["emulating haswell"] == SAMPLE
    stages_of_it = ran.progress.started
    assert stages_of_it.index("emulating haswell") < stages_of_it.index("packaging")
    bundle = Bundle.open(ran.path)
    assert bundle.manifest.validation == validation.to_json()
    sample = evaluator_of(bundle, data, SAMPLE)
    with bundle.session(threads=1) as session:
        here = sample.predict(session)
    expected = sample.compare(
        kept(bundle, "sample-fp32.npz", sample), here, max_drop=1.0, evidence="emulated"
    )
    assert replace(validation, integer=None, emulator=None, simulated=None) == expected


def test_its_lines(ran: Any) -> None:
    rows = dict(validation_rows(ran.result.validation))
    assert rows["evidence"].startswith("emulated: onnxruntime ")
    assert rows["evidence"].endswith(f"on haswell (QEMU {VERSION}), where the self-test passes")
    assert rows["integers"].startswith("100.00% agreement with the exact reference, outputs within 0")
    assert list(rows) == ["accuracy", "agreement", "evidence", "integers", "gate"]
    simulated = dict(validation_rows(ran.result.validation.simulated))
    assert simulated["evidence"] == "simulated on this machine; validate again on the device"
    assert "integers" not in simulated
    failed = replace(
        ran.result.validation,
        emulator={**ran.result.validation.emulator, "selftest": False},
        integer={"agreement": 0.5, "max_abs": None, "mse": None},
    )
    rows = dict(validation_rows(failed))
    assert rows["evidence"].endswith("where the self-test FAILS")
    assert rows["integers"] == "50.00% agreement with the exact reference"
    assert "evidence" not in dict(validation_rows(replace(failed, evidence="measured", emulator=None)))


def check(name: str, document: Any) -> None:
    schema = json.loads((ROOT / "docs" / "schemas" / f"{name}.schema.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(document)
    for key in ("integer", "emulator"):
        record = document["bundles"][0]["validation"] if name == "compile" else document
        broken = json.loads(json.dumps(document))
        (broken["bundles"][0]["validation"] if name == "compile" else broken)[key].popitem()
        assert set(record[key]) == set(schema_of(schema, name)["properties"][key]["properties"])
        assert not Draft202012Validator(schema).is_valid(broken)


def schema_of(schema: Any, name: str) -> Any:
    return schema["$defs"]["validation"] if name == "compile" else schema


def test_json_of_a_compile(stand: Stand, onnx_model: Path, data: Path, out: Path) -> None:
    assert stand
    with dot_products(here=True):
        done = bertc(
            *("compile", onnx_model, "-o", out, "--target", "x86-64-avx2", "--runtime", "openvino", "--json"),
            *emulated_options(data, "--validate-emulated", "--emulated-samples", SAMPLE),
        )
    assert done.code == 0, done.err
    document = json.loads(done.out)
    check("compile", document)
    validation = document["bundles"][0]["validation"]
    assert validation["emulator"]["runtime"] == "openvino"
    assert validation["simulated"]["evidence"] == "simulated"


@pytest.mark.parametrize(
    ("kind", "options", "error", "part"),
    [
        (Failing, {}, AccuracyGateError, "its self-test fails on haswell"),
        (
            Wrong,
            {"min_agreement": 0.5},
            AccuracyGateError,
            "the agreement of 0.0000 is below --min-agreement",
        ),
        (Crashing, {}, IncompatibleError, "was killed by SIGKILL under emulation"),
    ],
)
def test_what_fails_there_is_not_published(
    as_kind: Stand,
    onnx_model: Path,
    data: Path,
    out: Path,
    kind: type[PipeBackend],
    options: dict[str, Any],
    error: type[Exception],
    part: str,
) -> None:
    as_kind.kind = kind
    with pytest.raises(error, match=part) as caught:
        emulated(onnx_model, data, out, **options)
    assert not out.exists()
    draft, _, _ = as_kind.ran[-1]
    assert not draft.parent.exists()
    if error is AccuracyGateError:
        assert "x86-64-avx2: " in str(caught.value)
        assert "emulated" in str(caught.value)


def test_again_on_the_emulated_cpu(ran: Any, stand: Stand, data: Path) -> None:
    """The texts are those that the compile kept answers to, so that nothing more is needed."""
    assert stand
    done = bertc("validate", ran.path, "--eval-data", data, "--emulate", "x86-64-avx2", "--json")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    check("validate", document)
    recorded = ran.result.validation.to_json()
    simulated = recorded.pop("simulated")
    assert document == recorded
    Draft202012Validator(json.loads((ROOT / "docs/schemas/validate.schema.json").read_bytes())).validate(
        {**document, "simulated": simulated}
    )
    told = bertc("validate", ran.path, "--eval-data", data, "--emulate", "haswell")
    assert told.code == 0
    labels = [line.split()[0] for line in told.out.splitlines()]
    assert labels == ["accuracy", "agreement", "evidence", "integers", "gate"]


def test_on_other_texts(ran: Any, stand: Stand, data: Path, onnx_model: Path) -> None:
    assert stand
    command = (
        "validate",
        ran.path,
        "--eval-data",
        data,
        "--emulate",
        "haswell",
        "--eval-samples",
        SAMPLE + 4,
    )
    alone = bertc(*command, "--json")
    assert alone.code == 0
    assert "warning: the bundle keeps FP32's answers to other texts than these" in alone.err
    assert "--model" in alone.err
    document = json.loads(alone.out)
    assert (document["status"], document["n"], document["evidence"]) == (
        "not-measured",
        SAMPLE + 4,
        "emulated",
    )
    assert document["baseline"] is None
    assert "integer" not in document
    assert document["emulator"]["selftest"] is True
    compared = bertc(*command, "--json", "--model", onnx_model)
    assert (compared.code, compared.err) == (0, "")
    assert json.loads(compared.out)["status"] == "passed"
    whole = bertc(
        "validate", ran.path, "--eval-data", data, "--emulate", "haswell", "--eval-samples", 24, "--json"
    )
    assert whole.err == "", "the compile kept FP32's answers to all of it"
    assert "integer" not in json.loads(whole.out)


def test_a_self_test_that_fails_there_fails(ran: Any, as_kind: Stand, data: Path) -> None:
    as_kind.kind = Failing
    done = bertc("validate", ran.path, "--eval-data", data, "--emulate", "haswell")
    assert done.code == 4
    assert "the self-test FAILS" in done.out
    assert done.errors[0].endswith(": its self-test fails on haswell")


def test_the_distance_is_that_of_the_emulated_answers(ran: Any, as_kind: Stand, data: Path) -> None:
    as_kind.kind = Wrong
    done = bertc("validate", ran.path, "--eval-data", data, "--emulate", "haswell", "--json")
    assert done.code == 0, "it was compiled with --max-drop 1"
    found = json.loads(done.out)
    bundle = Bundle.open(ran.path)
    logits = kept(bundle, "sample-integer.npz", evaluator_of(bundle, data, SAMPLE))["logits"]
    assert (found["agreement"], found["integer"]["agreement"]) == (0.0, 0.0)
    assert found["integer"]["max_abs"] == pytest.approx(2 * np.abs(logits).max(), abs=1e-5)
    assert found["integer"]["mse"] == pytest.approx(np.square(2 * logits).mean(), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "code", "part"),
    [
        ("haswel", 2, "did you mean haswell?"),
        ("rtx-ada", 3, "cannot be emulated"),
        ("raspberry-pi-5", 7, "the emulator arm64 is not set up"),
    ],
)
def test_names_to_emulate(ran: Any, stand: Stand, name: str, code: int, part: str) -> None:
    assert stand
    bertc("validate", ran.path, "--eval-data", "not-there.jsonl", "--emulate", name).fails(code, part)


def test_a_bundle_of_before_there_were_samples(ran: Any, data: Path, stand: Stand) -> None:
    """Its manifest does not say how many texts: as many as a compile takes today."""
    from calibration.examples import DataOptions
    from compiler.revalidate import NO_BASELINE, revalidate

    assert stand
    bundle = Bundle.open(ran.path)
    config = {k: v for k, v in bundle.manifest.provenance["config"].items() if k != "emulated_samples"}  # type: ignore[union-attr]
    bundle.manifest = replace(bundle.manifest, provenance={**bundle.manifest.provenance, "config": config})
    found, notes = revalidate(bundle, str(data), DataOptions(), emulate="haswell")
    assert (found.n, notes) == (24, ())
    seeded, notes = revalidate(bundle, str(data), DataOptions(), emulate="haswell", seed=5, limit=SAMPLE)
    assert (seeded.n, notes) == (SAMPLE, (NO_BASELINE,))
    with pytest.raises(UsageError):
        revalidate(bundle, str(data), DataOptions(), emulate="no-such")


@pytest.mark.parametrize(("here", "evidence"), [(True, "simulated"), (False, "measured")])
def test_again_on_this_cpu(ran: Any, data: Path, here: bool, evidence: str) -> None:
    """A bundle for CPUs that saturate is not measured on one that does not."""
    with dot_products(here=here):
        done = bertc("validate", ran.path, "--eval-data", data, "--eval-samples", SAMPLE, "--json")
    assert done.code == 0
    assert ("run it on one with --emulate" in done.err) == here
    document = json.loads(done.out)
    assert document["evidence"] == evidence
    assert "emulator" not in document
    assert document["integer"]["agreement"] == 1.0


def test_the_sample_of_fewer_texts_is_found_again(
    onnx_model: Path, data: Path, out: Path, stand: Stand
) -> None:
    """--eval-samples below --emulated-samples: what is emulated is what was evaluated."""
    from calibration.examples import DataOptions
    from compiler.revalidate import revalidate

    assert stand
    built = build(
        onnx_model, out, target="x86-64-avx2", runtime="onnxruntime", calibration_data=data, eval_data=data,
        eval_samples=SAMPLE,
    )  # fmt: skip
    found, notes = revalidate(Bundle.open(built.path), str(data), DataOptions(), emulate="x86-64-avx2")
    assert (found.n, notes, found.status) == (SAMPLE, (), "passed")
    assert found.integer is not None


def test_a_bundle_for_another_machine_is_emulated_or_refused(arm: Arm, data: Path) -> None:
    path = arm.result.bundles[0].path
    done = bertc("validate", path, "--eval-data", data)
    assert done.code == 6
    assert "is for aarch64, this is x86_64" in done.err
    assert "hint: run it on an emulated one: --emulate raspberry-pi-5" in done.err
