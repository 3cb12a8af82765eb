"""Bundle: opening, identity, verification, and the check of a device."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from targets import Bundle
from targets.bundle.device import backend_version, check_backend, release
from targets.detect import Machine
from targets.errors import IncompatibleError, IntegrityError, MissingBackendError, UsageError
from tests.support.bundles import FILES, sample_manifest, write_sample

MACHINE = Machine("x86_64", "linux", "Test CPU", frozenset({"avx2", "avx512_vnni"}), 2, 4096)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_sample(tmp_path_factory.mktemp("bundles") / "tiny.bundle")


def test_open_reads_what_was_written(bundle: Bundle) -> None:
    again = Bundle.open(str(bundle.path))
    assert again.manifest == bundle.manifest
    assert again.id == hashlib.sha256((bundle.path / "bundle.json").read_bytes()).hexdigest()
    for path, (_, data) in FILES.items():
        assert path in again
        assert again.read(path) == data
    assert again.model_bytes == 1200
    assert again.id[:12] in repr(again)


def test_verify_reports_what_it_covered(bundle: Bundle) -> None:
    report = bundle.verify()
    assert report.id == bundle.id
    assert report.content_digest == bundle.manifest.content_digest
    assert report.files == len(FILES) + 1
    assert report.bytes == sum(
        path.stat().st_size for path in bundle.path.rglob("*") if path.is_file() and path.name != "SHA256SUMS"
    )


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_sha256sum_verifies_it_without_python(bundle: Bundle) -> None:
    done = subprocess.run(
        ["sha256sum", "-c", "--strict", "SHA256SUMS"],
        cwd=bundle.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(FILES) + 1


def test_expected_id(bundle: Bundle) -> None:
    for text in (bundle.id, "sha256:" + bundle.id, bundle.id.upper(), f" {bundle.id}\n"):
        assert Bundle.open(bundle.path, expect_id=text).id == bundle.id
    with pytest.raises(IntegrityError, match=f"has the id {bundle.id}, not {'0' * 64}"):
        Bundle.open(bundle.path, expect_id="0" * 64)
    for text in ("", "abc", bundle.id + "0", "md5:" + bundle.id):
        with pytest.raises(UsageError, match="is not a bundle's id"):
            Bundle.open(bundle.path, expect_id=text)


def test_the_id_is_compared_before_the_manifest_is_believed(tmp_path: Path) -> None:
    bundle = write_sample(tmp_path / "b")
    (bundle.path / "bundle.json").write_bytes(b"not even JSON")
    with pytest.raises(IntegrityError, match="has the id"):
        Bundle.open(bundle.path, expect_id=bundle.id)


def test_what_is_no_bundle_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for path, message in (
        (tmp_path / "none", "does not exist"),
        (tmp_path / "file", "is not a folder"),
        (tmp_path / "empty", "is not a bundle: it holds no bundle.json"),
        (tmp_path / "file" / "x", "does not exist"),
        ("a\0b", "does not exist|cannot open"),
        ("n" * 5000, "does not exist|cannot open"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            Bundle.open(path)
        assert "bertc compile -o" in caught.value.hint


def test_the_bundle_folder_itself_may_be_reached_by_a_link(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(bundle.path)
    assert Bundle.open(tmp_path / "current").verify().id == bundle.id


def test_the_reader_imports_the_standard_library_alone(bundle: Bundle) -> None:
    script = (
        "import sys; from targets import Bundle; Bundle.open(sys.argv[1]).verify(); "
        "print(sorted({'numpy', 'click', 'tokenizers', 'onnxruntime', 'compiler'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(bundle.path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_fitting_machine_passes(bundle: Bundle) -> None:
    bundle.check_device(MACHINE)
    bundle.check_device(replace(MACHINE, memory_mb=0))


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        (replace(MACHINE, arch="aarch64"), "is for x86_64, this is aarch64"),
        (replace(MACHINE, os="darwin"), "is for linux, this is darwin"),
        (replace(MACHINE, cpu_features=frozenset({"avx2"})), "has no avx512_vnni or avx_vnni"),
        (replace(MACHINE, memory_mb=255), "needs a device with 256 MiB of memory, this has 255"),
    ],
)
def test_another_machine_is_incompatible(bundle: Bundle, machine: Machine, message: str) -> None:
    with pytest.raises(IncompatibleError, match=message) as caught:
        bundle.check_device(machine)
    assert caught.value.exit_code == 6
    assert caught.value.hint


def test_a_backend_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingBackendError, match="onnxruntime, which runs this bundle, is not") as caught:
        bundle.check_device(MACHINE)
    assert caught.value.hint == 'pip install "bertc[onnxruntime]"'


def test_a_backend_that_is_too_old() -> None:
    runtime = replace(sample_manifest().runtime, minimum_version="9999.1")
    with pytest.raises(IncompatibleError, match=r"is older than 9999\.1") as caught:
        check_backend(runtime)
    assert caught.value.hint == 'pip install --upgrade "onnxruntime>=9999.1"'


def test_the_version_of_a_backend_without_a_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "homemade_backend.py").write_text("__version__ = '3.4'\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert backend_version("homemade_backend") == "3.4"
    with pytest.raises(MissingBackendError, match="no_such_backend cannot be imported"):
        backend_version("no_such_backend")


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.9.0", "1.20.0"),
        ("1.22", "1.22.1"),
        ("2025.4.1-19000-abc-releases/2025/4", "2026.0.0"),
        ("", "0.1"),
    ],
)
def test_versions_compare_by_their_numbers(older: str, newer: str) -> None:
    assert release(older) < release(newer)


def test_zeros_at_the_end_of_a_version_do_not_count() -> None:
    assert release("1.20") == release("1.20.0") == release("1.20.0rc1")


def test_targets_exports() -> None:
    import targets

    assert dir(targets) == ["Bundle", "__version__"]
    assert release(targets.__version__) > ()
    with pytest.raises(AttributeError, match="no attribute 'Session'"):
        _ = targets.Session
