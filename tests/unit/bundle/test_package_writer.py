"""write_bundle: the same bytes each time, and a bundle that is complete or not there."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.package import write_bundle
from targets.bundle import atomic_dir
from targets.bundle.output import check_output
from targets.bundle.reader import Bundle
from targets.bundle.schema import Role, TaskConfig
from targets.errors import InternalError, UnsupportedError, UsageError
from targets.temporary import holding
from tests.support.bundles import FILES, sample_manifest, write_sample


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


def with_file(path: str, role: Role, data: bytes | Path) -> dict[str, tuple[Role, bytes | Path]]:
    return {**FILES, path: (role, data)}


@pytest.fixture(scope="module")
def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_two_writes_give_the_same_bytes(tmp_path: Path) -> None:
    first = write_sample(tmp_path / "a")
    second = write_bundle(tmp_path / "b", sample_manifest(), dict(reversed(FILES.items())))
    assert tree(first.path) == tree(second.path)
    assert first.id == second.id
    assert list(tree(first.path)) == sorted([*FILES, "bundle.json", "SHA256SUMS"])
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_what_is_written_verifies(tmp_path: Path) -> None:
    bundle = write_sample(tmp_path / "a")
    bundle.verify()
    assert bundle.manifest == Bundle.open(tmp_path / "a").manifest
    assert [entry.path for entry in bundle.manifest.files] == sorted(FILES)


def test_only_model_tokenizer_and_self_test_are_content(tmp_path: Path) -> None:
    plain = write_sample(tmp_path / "a")
    changes: tuple[tuple[str, Role, bool], ...] = (
        ("report/metrics.json", "report", True),
        ("licenses/LICENSE", "license", True),
        ("selftest.json", "selftest", False),
        ("tokenizer/vocab.txt", "tokenizer", False),
        ("model/model.onnx", "model", False),
    )
    for path, role, same in changes:
        other = write_bundle(
            tmp_path / path.replace("/", "-"), sample_manifest(), with_file(path, role, b"other")
        )
        assert (other.manifest.content_digest == plain.manifest.content_digest) is same
        assert other.id != plain.id


def test_files_are_copied_from_paths_through_links(tmp_path: Path) -> None:
    source = tmp_path / "weights"
    source.write_bytes(os.urandom(3 << 20))
    (tmp_path / "link").symlink_to(source)
    bundle = write_bundle(
        tmp_path / "a", sample_manifest(), with_file("model/model.onnx", "model", tmp_path / "link")
    )
    assert bundle.read("model/model.onnx") == source.read_bytes()
    assert bundle.verify().files == len(FILES) + 1


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        bundle = write_sample(tmp_path / "a")
    finally:
        os.umask(before)
    assert stat.S_IMODE(bundle.path.stat().st_mode) == 0o755
    assert stat.S_IMODE((bundle.path / "bundle.json").stat().st_mode) == 0o644


def test_missing_parents_are_made(tmp_path: Path) -> None:
    assert write_sample(tmp_path / "x/y/z.bundle").path == tmp_path / "x/y/z.bundle"


def test_an_existing_output_needs_force(tmp_path: Path) -> None:
    first = write_sample(tmp_path / "a")
    before = tree(first.path)
    changed = replace(sample_manifest(), name="other")
    with pytest.raises(UsageError, match="exists already") as caught:
        write_bundle(first.path, changed, FILES)
    assert "--force" in caught.value.hint
    assert tree(first.path) == before
    assert write_bundle(first.path, changed, FILES, force=True).manifest.name == "other"
    assert os.listdir(tmp_path) == ["a"]


def test_force_without_the_exchange_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_dir, "_exchange", lambda *_: False)
    test_an_existing_output_needs_force(tmp_path)


def test_force_replaces_bundles_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.txt").write_bytes(b"x")
    (tmp_path / "file").write_bytes(b"x")
    write_sample(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    for name in ("home", "file", "link"):
        with pytest.raises(UsageError, match="is not replaced"):
            write_bundle(tmp_path / name, sample_manifest(), FILES, force=True)
    (tmp_path / "empty").mkdir()
    write_bundle(tmp_path / "empty", sample_manifest(), FILES, force=True).verify()


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, call: int, error: BaseException) -> None:
    real: Callable[..., object] = getattr(os, name)
    calls = iter(range(1, 1000))

    def wrapped(*args: object) -> object:
        if next(calls) == call:
            raise error
        return real(*args)

    monkeypatch.setattr(os, name, wrapped)


FSYNCS = len(FILES) + 2 + 4 + 1


@pytest.mark.parametrize("call", range(1, FSYNCS + 1))
@pytest.mark.parametrize("force", [False, True])
def test_a_failure_at_any_point_leaves_things_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, force: bool
) -> None:
    output = tmp_path / "out" / "a"
    before = tree(write_sample(output).path) if force else {}
    fail_at(monkeypatch, "fsync", call, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with pytest.raises(UsageError, match="No space left on device") as caught:
        write_bundle(output, replace(sample_manifest(), name="other"), FILES, force=force)
    assert "free some space" in caught.value.hint
    if force:
        assert tree(output) == before
        assert os.listdir(output.parent) == ["a"]
    else:
        assert os.listdir(tmp_path) == []


def test_a_parent_that_cannot_be_synced_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at(monkeypatch, "fsync", FSYNCS + 1, OSError(errno.EIO, os.strerror(errno.EIO)))
    with pytest.warns(UserWarning, match="is complete, but a power loss now may undo it"):
        write_sample(tmp_path / "a").verify()


def test_a_file_system_that_cannot_sync_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at(monkeypatch, "fsync", FSYNCS, OSError(errno.EINVAL, os.strerror(errno.EINVAL)))
    write_sample(tmp_path / "a").verify()


@pytest.mark.parametrize("call", [1, 4, FSYNCS])
def test_ctrl_c_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    fail_at(monkeypatch, "fsync", call, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path / "a")
    assert os.listdir(tmp_path) == []


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_the_system_cuts_short(tmp_path: Path) -> None:
    with file_size_limit(4096), pytest.raises(UsageError, match="File too large"):
        write_bundle(
            tmp_path / "a", sample_manifest(), with_file("model/model.onnx", "model", b"x" * (1 << 16))
        )
    assert os.listdir(tmp_path) == []


def test_a_failed_swap_puts_the_old_bundle_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "a"
    before = tree(write_sample(output).path)
    monkeypatch.setattr(atomic_dir, "_exchange", lambda *_: False)
    fail_at(monkeypatch, "rename", 2, OSError(errno.EIO, os.strerror(errno.EIO)))
    with pytest.raises(UsageError, match="Input/output error"):
        write_bundle(output, replace(sample_manifest(), name="other"), FILES, force=True)
    assert tree(output) == before
    assert os.listdir(tmp_path) == ["a"]


def test_an_output_that_appears_meanwhile_is_not_touched(tmp_path: Path) -> None:
    output = tmp_path / "a"

    with pytest.raises(FileExistsError), atomic_dir.staged_directory(output, replace=False):
        output.mkdir()
    assert os.listdir(tmp_path) == ["a"]


def test_outputs_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for output, message in (
        (tmp_path / "file" / "a", "is not a folder|Not a directory"),
        (Path("/proc/none/a"), "cannot write /proc/none/a"),
        (tmp_path / ("n" * 300), "File name too long"),
        (Path("/"), "cannot be the name of a bundle"),
        (tmp_path / "..", "cannot be the name of a bundle"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            write_sample(output)
        assert "-o" in caught.value.hint
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_found_before_the_work(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(UsageError, match="is read-only"):
            check_output(tmp_path / "x/a")
    finally:
        tmp_path.chmod(0o755)


def test_check_output_agrees_with_write_bundle(tmp_path: Path) -> None:
    check_output(tmp_path / "x/y/a")
    assert os.listdir(tmp_path) == []
    write_sample(tmp_path / "a")
    check_output(tmp_path / "a", force=True)
    with pytest.raises(UsageError, match="exists already"):
        check_output(tmp_path / "a")


def test_siblings_that_nobody_holds_are_removed(tmp_path: Path, dead_pid: int) -> None:
    # In a container, that of the process that was killed is often this one's own.
    for pid in (dead_pid, os.getpid()):
        (tmp_path / f".a.tmp-{pid}-0a1b" / "model").mkdir(parents=True)
    kept = [f".other.tmp-{dead_pid}-0a1b", f".a.tmp-{dead_pid}-not-ours", ".a.tmp-"]
    for name in kept:
        (tmp_path / name).mkdir()
    (tmp_path / ".a.tmp-1-0a1b").write_bytes(b"half an archive")
    write_sample(tmp_path / "a")
    assert sorted(os.listdir(tmp_path)) == sorted(["a", *kept])


def test_siblings_that_cannot_be_opened_are_left(tmp_path: Path, dead_pid: int) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f".a.tmp-{dead_pid}-0a1b").symlink_to("elsewhere")
    os.mkfifo(tmp_path / f".a.tmp-{dead_pid}-0a1c")
    before = os.listdir(tmp_path)
    write_sample(tmp_path / "a")
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "a"])


def test_a_sibling_that_is_held_is_in_use_whatever_its_process_is(tmp_path: Path, dead_pid: int) -> None:
    sibling = tmp_path / f".a.tmp-{dead_pid}-0a1b"
    sibling.mkdir()
    with holding(sibling):
        write_sample(tmp_path / "a")
        assert sibling.is_dir()
    write_bundle(tmp_path / "a", sample_manifest(), FILES, force=True)
    assert os.listdir(tmp_path) == ["a"]


def test_a_replacement_that_was_killed_half_way_is_undone(tmp_path: Path, dead_pid: int) -> None:
    old = write_sample(tmp_path / f".a.old-{dead_pid}-0a1b")
    with pytest.raises(FileExistsError), atomic_dir.staged_directory(tmp_path / "a", replace=False):
        pass
    assert os.listdir(tmp_path) == ["a"]
    assert Bundle.open(tmp_path / "a").id == old.id


@pytest.mark.parametrize(
    ("path", "role", "message"),
    [
        ("../outside", "model", "not a plain relative path"),
        ("/tmp/outside", "model", "not a plain relative path"),
        ("Model/x", "model", "differ only in case"),
        ("model/x", "report", "role report has no place at 'model/x'"),
        ("bundle.json", "report", "no place at 'bundle.json'"),
        ("README.md", "report", "no place at 'README.md'"),
    ],
)
def test_files_that_break_a_rule(tmp_path: Path, path: str, role: Role, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        write_bundle(tmp_path / "a", sample_manifest(), with_file(path, role, b"x"))
    assert os.listdir(tmp_path) == []


def test_a_manifest_that_breaks_a_rule(tmp_path: Path) -> None:
    bad = replace(sample_manifest(), task_config=TaskConfig("single_label_classification", ("a\x1b[2J", "b")))
    with pytest.raises(UnsupportedError, match=r"labels\[0\] holds a control character"):
        write_bundle(tmp_path / "a", bad, FILES)
    with pytest.raises(InternalError, match="cannot be written as JSON"):
        write_bundle(tmp_path / "a", replace(sample_manifest(), provenance={"x": float("inf")}), FILES)
    assert os.listdir(tmp_path) == []


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="a file to package cannot be read"):
        write_bundle(
            tmp_path / "a", sample_manifest(), with_file("model/model.onnx", "model", tmp_path / "none")
        )
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_removed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    write_sample(tmp_path / "a")
    with pytest.warns(UserWarning, match="goes on using disk space"):
        write_bundle(tmp_path / "a", sample_manifest(), FILES, force=True)
