"""The tuning record: read strictly, used only where it fits, and never part of the bundle."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from targets.bundle.device import backend_version
from targets.bundle.reader import Bundle
from targets.detect import EMULATED
from targets.errors import IntegrityError, UsageError
from targets.runtime.session import Session
from targets.runtime.settings import DYNAMIC, RunSettings, ShapePolicy
from targets.runtime.tune.parse import parse_record
from targets.runtime.tune.record import (
    MAX_BYTES,
    Entrant,
    Figures,
    Race,
    Trial,
    Tuned,
    TuningRecord,
    Workload,
)
from targets.runtime.tuning import (
    describe_machine,
    misfit,
    read_record,
    record_path,
    remove_record,
    settings_of,
    write_record,
)
from tests.support.tiny_runtime import table, tiny_bundle

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = RunSettings(
    threads=1,
    streams=1,
    max_batch=9,
    max_tokens=77,
    run_tokens=5,
    shapes=ShapePolicy((4, 12), "ahead", 2, 70),
)
FIGURES = Figures(1.5, 0.9, 0.85, 0.95, 12)
ONE = Figures(2.0, 1.0, 1.0, 1.0, 12)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuning")
    return tiny_bundle(folder / "m.bundle", "onnxruntime", "text-classification", table(2)).path


@pytest.fixture
def bundle(original: Path) -> Any:
    opened = Bundle.open(original)
    yield opened
    record_path(opened).unlink(missing_ok=True)


def record(bundle: Bundle, settings: RunSettings = SETTINGS) -> TuningRecord:
    tuned = Tuned(
        settings,
        FIGURES,
        RunSettings(),
        ONE,
        Workload("file", 20, 9, 14, 16),
        (
            Trial("threads", RunSettings(), "reference", ONE),
            Trial("threads", settings, "won", FIGURES),
            Trial("shapes", replace(settings, shapes=DYNAMIC), "failed", None),
        ),
        Race(bundle.id, (Entrant(bundle.id, "onnxruntime", ONE), Entrant("0" * 64, "openvino", FIGURES))),
    )
    return TuningRecord(
        bundle.id, "onnxruntime", backend_version("onnxruntime"), describe_machine(), {"latency": tuned}
    )


def edited(bundle: Bundle, edit: Callable[[dict[str, Any]], Any]) -> bytes:
    document = record(bundle).to_dict()
    document = json.loads(json.dumps(document))
    edit(document)
    return json.dumps(document).encode()


def test_what_is_written_is_read_back_whole(bundle: Bundle) -> None:
    changed = {each.name for each in fields(RunSettings) if getattr(SETTINGS, each.name) != each.default}
    assert changed >= {"threads", "max_batch", "max_tokens", "run_tokens", "shapes"}
    before = record(bundle)
    path = write_record(bundle, before)
    assert path == bundle.path.parent / "m.bundle.tuning.json"
    assert read_record(bundle) == before
    assert settings_of(bundle, "latency") == SETTINGS
    assert settings_of(bundle, "throughput") is None
    assert path.stat().st_mode & 0o777 == 0o644
    assert sorted(each.name for each in path.parent.iterdir()) == ["m.bundle", "m.bundle.tuning.json"]


def test_it_is_as_the_schema_says(bundle: Bundle) -> None:
    schema = json.loads((ROOT / "docs" / "schemas" / "tuning.schema.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    own = {"$ref": "#/$defs/record", "$defs": schema["$defs"]}
    Draft202012Validator(own).validate(json.loads(record(bundle).to_json()))
    wrong = json.loads(edited(bundle, lambda d: d["objectives"]["latency"]["settings"].pop("streams")))
    assert not Draft202012Validator(own).is_valid(wrong)


def test_the_bundle_stays_what_it_is(bundle: Bundle) -> None:
    before = bundle.verify()
    write_record(bundle, record(bundle))
    again = Bundle.open(bundle.path)
    assert again.verify() == before


def test_a_session_runs_as_the_record_says(bundle: Bundle, tmp_path: Path) -> None:
    write_record(bundle, record(bundle))
    with Session.from_bundle(bundle) as session:
        assert session.settings == SETTINGS
    with Session.from_bundle(bundle, objective="throughput") as session:
        assert session.settings == RunSettings()
    with Session.from_bundle(bundle, settings=RunSettings(threads=1)) as session:
        assert session.settings == RunSettings(threads=1)
    link = tmp_path / "link.bundle"
    link.symlink_to(bundle.path)
    assert settings_of(Bundle.open(link), "latency") == SETTINGS


def test_without_a_record(bundle: Bundle) -> None:
    assert read_record(bundle) is None
    assert settings_of(bundle, "latency") is None
    assert remove_record(bundle) is False
    write_record(bundle, record(bundle))
    assert remove_record(bundle) is True
    assert read_record(bundle) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: replace(r, bundle_id="f" * 64), "another bundle"),
        (lambda r: replace(r, backend="openvino"), "openvino"),
        (lambda r: replace(r, backend_version="0.0.1"), "0.0.1"),
        (lambda r: replace(r, machine=replace(r.machine, cpu_model="Another CPU")), "Another CPU"),
        (lambda r: replace(r, machine=replace(r.machine, cores=r.machine.cores + 1)), "cores"),
        (lambda r: replace(r, machine=replace(r.machine, threads=r.machine.threads + 1)), "threads"),
    ],
)
def test_a_record_of_something_else_is_not_used(
    bundle: Bundle, change: Callable[[TuningRecord], TuningRecord], reason: str
) -> None:
    other = change(record(bundle))
    write_record(bundle, other)
    assert reason in (misfit(other, bundle) or "")
    assert settings_of(bundle, "latency") is None


def test_under_emulation_a_record_is_neither_used_nor_written(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = record(bundle)
    path = write_record(bundle, before)
    monkeypatch.setenv(EMULATED, "cortex-a76")
    assert misfit(before, bundle) == "this is an emulated cortex-a76, and times mean nothing there"
    assert settings_of(bundle, "latency") is None
    with Session.from_bundle(bundle) as session:
        assert session.settings != SETTINGS
    path.unlink()
    with pytest.raises(UsageError, match="there is nothing to tune under emulation") as caught:
        write_record(bundle, before)
    assert caught.value.hint == "tune on the device itself"
    assert not path.exists()


def test_a_record_cannot_ask_for_more_threads_than_there_are(bundle: Bundle) -> None:
    for settings in (RunSettings(threads=1024), RunSettings(streams=64)):
        greedy = record(bundle, settings)
        write_record(bundle, greedy)
        if describe_machine().cores < 64:
            assert "threads" in (misfit(greedy, bundle) or "")
            assert settings_of(bundle, "latency") is None


def set_in(document: dict[str, Any], path: str, value: object) -> None:
    *folders, last = path.split(".")
    for key in folders:
        document = document[key]
    document[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", "bertc-bundle"),
        ("version", 2),
        ("path", "/etc/passwd"),
        ("bundle_id", "../../x"),
        ("backend", "tvm"),
        ("backend_version", "1\n2"),
        ("machine.cores", 0),
        ("machine.cpu_model", "\x1b[2J"),
        ("machine.extra", 1),
        ("objectives", {}),
        ("objectives.energy", {}),
        ("objectives.latency.settings.threads", -1),
        ("objectives.latency.settings.threads", 5000),
        ("objectives.latency.settings.streams", True),
        ("objectives.latency.settings.max_batch", 1.5),
        ("objectives.latency.settings.options", {"LOG_LEVEL": "x"}),
        ("objectives.latency.settings.shapes.lengths", [8, 4]),
        ("objectives.latency.settings.shapes.lengths", list(range(1, 80))),
        ("objectives.latency.settings.shapes.lengths", ["8"]),
        ("objectives.latency.settings.shapes.when", "always"),
        ("objectives.latency.settings.shapes.cache_dir", "/tmp"),
        ("objectives.latency.figures.value", "fast"),
        ("objectives.latency.figures.ratio", -1),
        ("objectives.latency.figures.rounds", None),
        ("objectives.latency.figures", {}),
        ("objectives.latency.workload.source", "guess"),
        ("objectives.latency.trials", [{}] * 65),
        ("objectives.latency.trials", {}),
        ("objectives.latency.race.winner", "1" * 64),
    ],
)
def test_a_record_that_breaks_a_rule_is_refused(bundle: Bundle, path: str, value: object) -> None:
    data = edited(bundle, lambda document: set_in(document, path, value))
    record_path(bundle).write_bytes(data)
    with pytest.raises(IntegrityError) as caught:
        read_record(bundle)
    assert "bertc tune" in caught.value.hint
    assert settings_of(bundle, "latency") is None


def test_the_document_that_those_break_is_accepted(bundle: Bundle) -> None:
    assert parse_record(edited(bundle, dict.copy), "x") == record(bundle)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"format": NaN}', b" " * (MAX_BYTES + 1), b"[" * 9999])
def test_what_is_no_record_is_refused(bundle: Bundle, data: bytes) -> None:
    record_path(bundle).write_bytes(data)
    with pytest.raises(IntegrityError):
        read_record(bundle)
    assert settings_of(bundle, "latency") is None


def test_only_a_regular_file_is_read(bundle: Bundle, tmp_path: Path) -> None:
    path = record_path(bundle)
    target = tmp_path / "record.json"
    target.write_bytes(record(bundle).to_json())
    path.symlink_to(target)
    with pytest.raises(IntegrityError, match="cannot open"):
        read_record(bundle)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(IntegrityError, match="not a regular file"):
        read_record(bundle)
    path.unlink()
    path.mkdir()
    assert settings_of(bundle, "latency") is None
    with pytest.raises(UsageError, match="cannot write"):
        write_record(bundle, record(bundle))
    assert [each.name for each in path.parent.iterdir() if each.name.startswith(".")] == []
    path.rmdir()


def test_a_link_is_replaced_not_followed(bundle: Bundle, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("keep")
    record_path(bundle).symlink_to(target)
    write_record(bundle, record(bundle))
    assert target.read_text() == "keep"
    assert settings_of(bundle, "latency") == SETTINGS
