"""Bundles of every schema version, written by the compilers of their time: read, verified and run today."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from targets import Bundle
from targets.bundle.parse import parse_manifest
from targets.bundle.schema import SCHEMA_VERSION
from targets.cli import device_group
from targets.cli_errors import main_guard
from targets.errors import IncompatibleError, MissingBackendError
from targets.spec import GPU_RUNTIMES
from tests.support.bundles import edit_manifest, with_new_keys
from tests.support.manifests import manifest_validator

ROOT = Path(__file__).resolve().parents[3]
FROZEN = ROOT / "tests" / "frozen"
MAKE = "write them with tests/frozen/make.py before anything else changes"
MAJOR, MINOR = (int(part) for part in SCHEMA_VERSION.split("."))
LARGEST = 128 * 1024


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.name.partition('.')[0]}"


def expected_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_suffix(".expected.json").read_text("utf-8"))
    return found


BUNDLES = sorted(FROZEN.glob("*/*.bundle"))
MANIFESTS = [path / "bundle.json" for path in BUNDLES]
MANIFESTS += sorted(FROZEN.glob("*/*.bundle.json"))
BUILT = [
    path
    for path in BUNDLES
    if json.loads((path / "bundle.json").read_bytes())["runtime"]["backend"] not in GPU_RUNTIMES
]
ANSWERED = [path for path in BUNDLES if expected_of(path)["answers"] is not None]

each_bundle = pytest.mark.parametrize("path", BUNDLES, ids=named)
each_manifest = pytest.mark.parametrize(
    "manifest", MANIFESTS, ids=lambda path: named(path.parent if path.name == "bundle.json" else path)
)
Bertc = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bertc(capsys: pytest.CaptureFixture[str]) -> Bertc:
    def call(*argv: object) -> tuple[int, str, str]:
        code = main_guard(device_group(), [str(argument) for argument in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def require_device(path: Path) -> None:
    """Skip where the machine is not one that the bundle is for."""
    try:
        Bundle.open(path).check_device()
    except (IncompatibleError, MissingBackendError) as error:
        pytest.skip(error.message)


def assert_alike(found: Any, expected: Any, within: float) -> None:
    """The same keys, labels and places; numbers with a fraction within a tolerance."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_alike(found[key], value, within)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other, within)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=within)
    else:
        assert found == expected


def check_answers(bertc: Bertc, bundle: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    rows = [{key: row[key] for key in ("text", "text_pair") if key in row} for row in expected["answers"]]
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    code, out, err = bertc("run", bundle, "--file", texts, "--threads", 1)
    assert code == 0, err
    assert_alike(
        [json.loads(line) for line in out.splitlines()], expected["answers"], expected["scores_within"]
    )


def test_every_schema_version_has_bundles_that_run() -> None:
    versions = {path.parent.name for path in ANSWERED}
    missing = {f"{MAJOR}.{minor}" for minor in range(MINOR + 1)} - versions
    assert not missing, f"no frozen bundles of schema {sorted(missing)}: {MAKE}"
    assert {path.parent.name for path in BUNDLES} == versions


def test_every_schema_version_is_published() -> None:
    known = manifest_validator().schema["properties"]["schema_version"]["enum"]
    assert known == [f"{MAJOR}.{minor}" for minor in range(MINOR + 1)]


@each_manifest
def test_a_manifest_is_written_as_it_was(manifest: Path) -> None:
    data = manifest.read_bytes()
    found = parse_manifest(data)
    assert found.to_json() == data
    assert manifest.relative_to(FROZEN).parts[0] == found.schema_version


@each_manifest
def test_the_published_schema_describes_it(manifest: Path) -> None:
    manifest_validator().validate(json.loads(manifest.read_bytes()))


@each_bundle
def test_it_is_whole(path: Path) -> None:
    expected = expected_of(path)
    bundle = Bundle.open(path, expect_id=expected["id"])
    report = bundle.verify()
    assert (report.id, report.content_digest) == (expected["id"], expected["content_digest"])
    assert report.bytes < LARGEST


@each_bundle
@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_sha256sum_verifies_it(path: Path) -> None:
    command = ["sha256sum", "-c", "--strict", "--quiet", "SHA256SUMS"]
    done = subprocess.run(command, cwd=path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each_bundle
def test_verify_and_inspect(bertc: Bertc, path: Path) -> None:
    code, out, err = bertc("verify", path, "--no-device", "--expect-id", expected_of(path)["id"])
    assert (code, err) == (0, "")
    code, out, err = bertc("inspect", path, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    schema = json.loads((ROOT / "docs" / "schemas" / "inspect.schema.json").read_bytes())
    Draft202012Validator(schema).validate(document)
    assert (document["id"], document["schema_version"]) == (expected_of(path)["id"], path.parent.name)
    code, out, err = bertc("inspect", path)
    assert (code, err) == (0, "")
    assert out.startswith(f"{path.stem}: ")


@pytest.mark.parametrize("path", BUILT, ids=named)
def test_selftest(bertc: Bertc, path: Path) -> None:
    require_device(path)
    code, out, err = bertc("selftest", path, "--json", "--threads", 1)
    assert (code, err) == (0, "")
    assert json.loads(out)["ok"] is True


@pytest.mark.parametrize("path", ANSWERED, ids=named)
def test_its_answers_are_those_of_its_time(bertc: Bertc, path: Path, tmp_path: Path) -> None:
    require_device(path)
    check_answers(bertc, path, expected_of(path), tmp_path)


NEWEST = [path for path in ANSWERED if path.parent.name == SCHEMA_VERSION][:1]


@pytest.mark.parametrize("path", NEWEST, ids=named)
def test_a_bundle_of_the_next_minor_version_runs(bertc: Bertc, path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "next.bundle"
    shutil.copytree(path, copy)
    version = f"{MAJOR}.{MINOR + 1}"
    edit_manifest(copy, lambda d: (d.update(with_new_keys(d)), d.update(schema_version=version)))
    bundle = Bundle.open(copy)
    bundle.verify()
    assert bundle.manifest == replace(Bundle.open(path).manifest, schema_version=version)
    require_device(path)
    check_answers(bertc, copy, expected_of(path), tmp_path)


@pytest.mark.parametrize("path", NEWEST, ids=named)
@pytest.mark.parametrize("command", [("verify",), ("selftest",), ("run", "--text", "a"), ("inspect",)])
def test_a_bundle_of_the_next_major_version_asks_for_a_newer_bertc(
    bertc: Bertc, path: Path, command: tuple[str, ...], tmp_path: Path
) -> None:
    copy = tmp_path / "next.bundle"
    shutil.copytree(path, copy)
    edit_manifest(copy, lambda d: d.update(schema_version=f"{MAJOR + 1}.0"))
    name, *rest = command
    code, out, err = bertc(name, copy, *rest)
    assert (code, out) == (5, "")
    assert err.splitlines() == [
        f"error: bundle.json: schema version {MAJOR + 1}.0 is not known here",
        "hint: install a newer bertc",
    ]
