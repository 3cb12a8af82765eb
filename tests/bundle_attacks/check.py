"""What must hold when a command ends that was given something hostile."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bundle_attacks.attack import Attack, Scene
from tests.bundle_attacks.child import SECONDS, Done

MOST_MB: Final = 128.0
"""More than the same command takes over a benign bundle."""

_PLAIN: Final = "\n\u200c\u200d"
"""Also printed: within words of Persian and Indic scripts, and within emoji, two joiners."""
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES: Final = frozenset(
    {"os.mkdir", "os.rmdir", "os.remove", "os.rename", "os.link", "os.symlink", "os.chmod", "os.chown"}
    | {"os.truncate", "os.utime", "shutil.rmtree"}
)
_ROOT: Final = Path(__file__).resolve().parents[2]
_SYSTEM: Final = ("/proc/", "/sys/", "/usr/", "/lib", "/etc/ld.so.cache", "/dev/null", "/etc/localtime")
_CODE: Final = tuple(
    dict.fromkeys(
        os.path.realpath(each) for each in (sys.prefix, sys.base_prefix, str(_ROOT), *sys.path) if each
    )
)


@dataclass(frozen=True)
class Snapshot:
    """Every file of a scene but those that the command may write, as it was."""

    files: dict[str, tuple[int, int, str]]

    @classmethod
    def of(cls, scene: Scene) -> Snapshot:
        files: dict[str, tuple[int, int, str]] = {}
        for folder, folders, names in os.walk(scene.root):
            for name in (*folders, *names):
                path = Path(folder) / name
                info = path.lstat()
                digest = ""
                if stat.S_ISREG(info.st_mode) and info.st_size < 1 << 20:
                    digest = hashlib.sha256(path.read_bytes()).hexdigest()
                elif stat.S_ISLNK(info.st_mode):
                    digest = os.readlink(path)
                size = 0 if stat.S_ISDIR(info.st_mode) else info.st_size
                files[str(path.relative_to(scene.root))] = (info.st_mode, size, digest)
        return cls(files)


def problems(
    attack: Attack, scene: Scene, done: Done, benign: Done, before: Snapshot, after: Snapshot
) -> list[str]:
    """Everything that does not hold; nothing for a defence that does."""
    found = [*_ending(attack, done), *_output(attack, done)]
    found += [f"{name} was opened or changed" for name in done.touched]
    # shutil.rmtree opens what it removes by its name, and compares what that was with what it is.
    removes = any(event == "shutil.rmtree" for event, _, _ in done.events)
    events = [event for event in done.events if not (attack.during and event[0] == "os.fork")]
    found += [problem for event in events if (problem := _event(scene, *event, removes=removes))]
    found += _changes(attack, scene, before, after)
    over = done.peak_mb - benign.peak_mb
    if over > MOST_MB:
        found.append(f"it took {over:.0f} MiB more than a benign one")
    return found


def _ending(attack: Attack, done: Done) -> list[str]:
    if done.code is None or done.seconds > SECONDS:
        return [f"it was not done after {done.seconds:.0f} s of a core"]
    if done.code not in attack.codes:
        return [f"it ended with {done.code}, not {' or '.join(map(str, attack.codes))}"]
    return []


def _output(attack: Attack, done: Done) -> list[str]:
    found = []
    texts = {}
    for name, data in (("stdout", done.out), ("stderr", done.err)):
        try:
            texts[name] = data.decode("utf-8")
        except UnicodeDecodeError:
            return [f"{name} is not UTF-8"]
        if not all(char.isprintable() or char in _PLAIN for char in texts[name]):
            found.append(f"{name} holds a character that does not print: {ascii(texts[name])[:200]}")
    if done.code == 0 and 0 in attack.codes:
        warned = all(line.startswith("warning: ") for line in texts["stderr"].splitlines())
        if not texts["stdout"] or not warned:
            found.append(f"it is harmless, and said {texts['stderr'][:200]!r}")
        return found
    if texts["stdout"]:
        found.append(f"it printed {texts['stdout'][:200]!r}")
    lines = [line for line in texts["stderr"].splitlines() if not line.startswith("warning: ")]
    if [line.partition(" ")[0] for line in lines] != ["error:", "hint:"]:
        found.append(f"it said {texts['stderr'][:300]!r}, not what is wrong and what to do")
    return found


def _event(scene: Scene, event: str, path: str, flags: int, *, removes: bool) -> str | None:
    """Why something that the command did is more than it may do."""
    what = f"{event} {path}"
    changes = event in _CHANGES or bool(flags & _WRITING)
    if event == "ctypes.dlopen" or event not in _CHANGES | {"open", "os.listdir", "os.scandir"}:
        return what
    if not path.startswith("/"):
        # Of a folder that was opened before: one plain name, and no link.
        plain = "/" not in path and path not in ("", ".", "..")
        unfollowed = flags & os.O_NOFOLLOW or (removes and not changes)
        return None if event == "open" and plain and unfollowed else what
    real = os.path.normpath(path)
    if real == str(scene.root) or real.startswith(f"{scene.root}/"):
        may_read = (scene.bundle, scene.archive, scene.output, scene.key, scene.texts, scene.record)
        if real == str(scene.place) and not changes:  # a folder may be made in it, and waited for
            return None
        allowed = (scene.output,) if changes else may_read
        return None if any(real == str(each) or real.startswith(f"{each}/") for each in allowed) else what
    if changes and path != os.devnull:
        return what
    known = real.startswith(_SYSTEM) or any(real == each or real.startswith(f"{each}/") for each in _CODE)
    return None if known else what


def _changes(attack: Attack, scene: Scene, before: Snapshot, after: Snapshot) -> list[str]:
    own = tuple(str(each.relative_to(scene.root)) for each in (scene.output, scene.bundle))
    ignored = own if attack.during else own[:1]
    names = {
        name
        for name in before.files.keys() ^ after.files.keys()
        | {name for name in before.files if before.files[name] != after.files.get(name)}
        if not any(name == each or name.startswith(f"{each}/") for each in ignored)
    }
    found = [f"{name} was changed" for name in sorted(names)]
    left = [name for name in after.files if name.startswith(f"{own[0]}/") and name not in before.files]
    if left and 0 not in attack.codes and attack.during is None:
        found.append(f"it left {', '.join(sorted(left))[:200]}")
    return found
