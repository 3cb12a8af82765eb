"""The commands that attacks are run with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.bundle_attacks.attack import Scene

_TEXT: Final = ("--text", "a good film", "--text", "bad")

COMMANDS: Final[dict[str, Callable[[Scene], tuple[object, ...]]]] = {
    "verify": lambda scene: ("verify", scene.bundle),
    "verify --key": lambda scene: ("verify", scene.bundle, "--key", scene.key),
    "inspect": lambda scene: ("inspect", scene.bundle),
    "run": lambda scene: ("run", scene.bundle, *_TEXT, "--threads", 1),
    "run --json": lambda scene: ("run", scene.bundle, "--json", *_TEXT, "--threads", 1),
    "selftest": lambda scene: ("selftest", scene.bundle, "--threads", 1),
    "validate": lambda scene: ("validate", scene.bundle, "--eval-data", scene.texts, "--threads", 1),
    "pack": lambda scene: ("pack", scene.bundle, "-o", scene.output / "again.tar"),
    "unpack": lambda scene: ("unpack", scene.archive, "-o", scene.output),
    "unpack --key": lambda scene: ("unpack", scene.archive, "-o", scene.output, "--key", scene.key),
    "check-device": lambda scene: ("check-device", scene.bundle),
    "tune --show": lambda scene: ("tune", scene.bundle, "--show"),
}

OPENING: Final = ("verify", "run")
"""Of what is found when a bundle is opened."""
LOADING: Final = ("run", "selftest")
"""Of what is found when its model and tokenizer are loaded."""
UNPACKING: Final = ("unpack",)


def argv(command: str, scene: Scene) -> list[str]:
    """The arguments of a command in a scene."""
    return [str(each) for each in COMMANDS[command](scene)]
