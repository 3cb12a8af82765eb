"""Every attack of the corpus is refused as it must be; and the harness would see it if one were not."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bundle_attacks.attack import Attack, Scene
from tests.bundle_attacks.check import Snapshot, problems
from tests.bundle_attacks.child import Done, run_forked
from tests.bundle_attacks.registry import attacks
from tests.bundle_attacks.server import Client, client
from tests.bundle_attacks.watch import Watch

ATTACKS = attacks()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with client(tmp_path_factory.mktemp("attacks")) as found:
        yield found


@pytest.mark.parametrize(
    ("attack_id", "command"),
    [(attack.id, attack.commands[place % len(attack.commands)]) for place, attack in enumerate(ATTACKS)],
)
def test_attack(attack_id: str, command: str, server: Client) -> None:
    """One of an attack's commands, by turns; `python -m tools.attack_bundles` runs all of them."""
    (found,) = server.run(attack_id, [command])
    assert found.problems == ()


def test_the_corpus() -> None:
    assert len(ATTACKS) >= 300
    assert all(attack.reason for attack in ATTACKS if set(attack.codes) - {5, 6})
    assert all(attack.commands for attack in ATTACKS)


def harmless(scene: Scene) -> int:
    del scene
    sys.stderr.write("error: it is wrong\nhint: do not\n")
    return 5


def reads_outside(scene: Scene) -> int:
    (scene.outside / "LICENSE").read_bytes()
    return harmless(scene)


def reads_outside_natively(scene: Scene) -> int:
    libc = ctypes.CDLL(None)
    libc.close(libc.open(os.fsencode(scene.outside / "folder" / "LICENSE"), os.O_RDONLY))
    return harmless(scene)


def changes_outside(scene: Scene) -> int:
    (scene.outside / "LICENSE").write_bytes(b"")
    return harmless(scene)


def reads_elsewhere(scene: Scene) -> int:
    Path("/etc/passwd").read_bytes()
    return harmless(scene)


def writes_beside(scene: Scene) -> int:
    (scene.place / "new").touch()
    return harmless(scene)


def leaves(scene: Scene) -> int:
    (scene.output / "left").mkdir(parents=True)
    return harmless(scene)


def starts_a_process(scene: Scene) -> int:
    os.system("true")
    return harmless(scene)


def takes_memory(scene: Scene) -> int:
    bytearray(200 << 20)
    return harmless(scene)


def prints(scene: Scene) -> int:
    sys.stdout.write("x\n")
    return harmless(scene)


def says_more(scene: Scene) -> int:
    sys.stderr.write("error: it is wrong\n")
    return harmless(scene)


def says_escapes(scene: Scene) -> int:
    del scene
    sys.stderr.write("error: \x1b[2J\nhint: do not\n")
    return 5


def succeeds(scene: Scene) -> int:
    return harmless(scene) - 5


def crashes(scene: Scene) -> int:
    del scene
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("misbehave", "seen"),
    [
        (harmless, None),
        (reads_outside, "outside/LICENSE was opened"),
        (reads_outside_natively, "outside/folder/LICENSE was opened"),
        (changes_outside, "outside/LICENSE was changed"),
        (reads_elsewhere, "open /etc/passwd"),
        (writes_beside, "place/new was changed"),
        (leaves, "it left place/out/left"),
        (starts_a_process, "os.system"),
        (takes_memory, "more than a benign one"),
        (prints, "it printed"),
        (says_more, "not what is wrong and what to do"),
        (says_escapes, "does not print"),
        (succeeds, "it ended with 0"),
        (crashes, "it ended with -9"),
    ],
)
def test_the_harness_sees(misbehave: Callable[[Scene], int], seen: str | None, tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene")
    for folder in (scene.place, scene.outside / "folder", scene.root / "cwd"):
        folder.mkdir(parents=True)
    for folder in (scene.outside, scene.outside / "folder"):
        (folder / "LICENSE").write_bytes(b"canary")
    attack = Attack("test", "x", ("verify",), lambda _: None)
    before = Snapshot.of(scene)
    done = run_forked(attack, "verify", scene, lambda _: misbehave(scene))
    calm = run_forked(attack, "verify", scene, lambda _: harmless(scene))
    found = problems(attack, scene, done, calm, before, Snapshot.of(scene))
    assert [problem for problem in found if seen and seen in problem] or not (seen or found), found


def test_what_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bundle_attacks.child.WAITING", 0.2)
    scene = Scene(tmp_path / "scene")
    for folder in (scene.outside, scene.root / "cwd"):
        folder.mkdir(parents=True)

    def waits(_: list[str]) -> int:
        import time

        time.sleep(60)
        return 5

    attack = Attack("test", "x", ("verify",), lambda _: None)
    done = run_forked(attack, "verify", scene, waits)
    assert done.code is None
    empty = Snapshot({})
    assert "it was not done" in problems(attack, scene, done, done, empty, empty)[0]


def test_a_context_is_entered_in_the_process_of_the_command(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene")
    for folder in (scene.outside, scene.root / "cwd"):
        folder.mkdir(parents=True)
    here: list[int] = []

    @contextmanager
    def during(_: Scene) -> Iterator[None]:
        here.append(os.getpid())
        yield

    attack = Attack("test", "x", ("verify",), lambda _: None, during=during)
    done: Done = run_forked(attack, "verify", scene, lambda _: len(here))
    assert done.code == 1
    assert here == []


def test_watching_counts_a_file_by_its_other_name(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a").write_bytes(b"x")
    (tmp_path / "link").symlink_to("outside/a")
    with Watch(tmp_path / "outside") as watch:
        assert watch.names() == ()
        (tmp_path / "link").read_bytes()
        assert "outside/a" in watch.names()
