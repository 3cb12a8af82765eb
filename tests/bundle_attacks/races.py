"""Files and folders that are exchanged between a check and what is done after it."""

from __future__ import annotations

import os
import pkgutil
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final
from unittest import mock

from tests.bundle_attacks.attack import Attack, Scene

During = Callable[[Scene], AbstractContextManager[object]]
Swap = Callable[[Scene], object]

MODEL: Final = "model/model.onnx"


def before(target: str, swap: Swap, count: int = 1) -> During:
    """Swaps just before a function of the product is called for the `count`-th time."""

    @contextmanager
    def context(scene: Scene) -> Iterator[None]:
        function = pkgutil.resolve_name(target)
        calls = 0

        def call(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == count:
                _quietly(lambda: swap(scene))
            return function(*args, **options)

        with mock.patch(target, call):
            yield

    return context


def _quietly(swap: Callable[[], object]) -> None:
    """In a process of its own: what the attacker does is not what the command does."""
    pid = os.fork()
    if pid == 0:
        try:
            swap()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def linked_model(scene: Scene) -> None:
    target = scene.outside / "model.onnx"
    (scene.bundle / MODEL).rename(scene.bundle / "model" / "old")
    (scene.bundle / MODEL).symlink_to(target)


def linked_folder(scene: Scene) -> None:
    (scene.bundle / "model").rename(scene.bundle / "moved")
    (scene.bundle / "model").symlink_to(scene.outside)


def other_model(scene: Scene) -> None:
    path = scene.bundle / MODEL
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def other_tokenizer(scene: Scene) -> None:
    path = scene.bundle / "tokenizer/tokenizer.json"
    path.write_bytes(path.read_bytes().replace(b'"good"', b'"evil"'))


def other_manifest(scene: Scene) -> None:
    path = scene.bundle / "bundle.json"
    path.write_bytes(path.read_bytes() + b" ")


def fifo(scene: Scene) -> None:
    (scene.bundle / MODEL).unlink()
    os.mkfifo(scene.bundle / MODEL)


def longer(scene: Scene) -> None:
    os.truncate(scene.bundle / MODEL, 4 << 30)


def staging(scene: Scene) -> Any:
    return next(each for each in scene.output.iterdir() if ".tmp-" in each.name)


def linked_staging(scene: Scene) -> None:
    found = staging(scene)
    found.rename(scene.output / "moved")
    found.symlink_to(scene.outside)


def linked_inside(scene: Scene) -> None:
    found = staging(scene)
    shutil.rmtree(found / "model", ignore_errors=True)
    (found / "model").symlink_to(scene.outside)


def other_staging(scene: Scene) -> None:
    """Another folder, complete and of another content, in its place."""
    found = staging(scene)
    found.rename(scene.output / "moved")
    found.mkdir()
    (found / "bundle.json").write_bytes(b"{}")


def other_extracted(scene: Scene) -> None:
    path = staging(scene) / "licenses/LICENSE"
    path.write_bytes(b"x" * path.stat().st_size)


_READER: Final = "targets.bundle.digest.open_beneath"
_WALK: Final = "targets.bundle.reader.walk_bundle"
_LOAD: Final = "targets.runtime.session.load"
_WRITE: Final = "targets.bundle.archive.write_beneath"

ATTACKS: Final = (
    *(
        Attack(
            "race",
            f"{name} between opening and loading",
            ("run",),
            lambda _: None,
            during=before(_LOAD, swap),
        )
        for name, swap in {
            "the model a link": linked_model,
            "its folder a link": linked_folder,
            "another model": other_model,
            "another tokenizer": other_tokenizer,
            "a fifo for the model": fifo,
            "a model of 4 GiB": longer,
        }.items()
    ),
    *(
        Attack(
            "race",
            f"{name} between the walk and the hashes",
            ("verify",),
            lambda _: None,
            during=before(_READER, s, 3),
        )
        for name, s in {
            "the model a link": linked_model,
            "its folder a link": linked_folder,
            "another model": other_model,
            "a fifo for the model": fifo,
        }.items()
    ),
    Attack(
        "race",
        "another manifest between opening and verifying",
        ("verify",),
        lambda _: None,
        during=before(_WALK, other_manifest, 1),
    ),
    Attack(
        "race",
        "the staging folder a link while it is written",
        ("unpack",),
        lambda _: None,
        base="onnx-archive",
        during=before(_WRITE, linked_staging, 2),
    ),
    Attack(
        "race",
        "the staging folder another one while it is written",
        ("unpack",),
        lambda _: None,
        base="onnx-archive",
        during=before(_WRITE, other_staging, 2),
    ),
    Attack(
        "race",
        "the staging folder a link behind the last file",
        ("unpack",),
        lambda _: None,
        base="onnx-archive",
        during=before("targets.bundle.archive.check_written", linked_staging),
    ),
    Attack(
        "race",
        "a folder in the staging folder a link while it is written",
        ("unpack",),
        lambda _: None,
        base="onnx-archive",
        during=before(_WRITE, linked_inside, 2),
    ),
)
