"""What the placeholders of the pages stand for when they run, and what does not run here, with the reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from targets.registry import detect_native
from tools.docs.pages import Command

MODEL: Final = "minilm-sst2"
"""The folder of the checkpoint in every page, and so the name of its bundles."""

TRAIN: Final = ("train.tsv", "train.jsonl")
EVALUATION: Final = ("validation.tsv", "validation.jsonl", "dev.tsv", "dev.jsonl")
"""The data files of the pages; each is there in both forms."""

TEXTS: Final = "texts.txt"
"""The texts of the first, one a line."""

QUICK: Final[Mapping[str, str]] = {
    "bertc bench": "--seconds 0.2",
    "bertc tune": "--seconds 5",
}
"""Flags that are added where a page does not give them, because what is tested is that the command works."""

SKIPPED: Final[Mapping[str, str]] = {
    "make": "creates an environment of its own",
    "pip install": "installs packages",
    "pip download": "needs a network",
    "pip wheel": "needs a network",
    "python3 -m venv": "creates an environment of its own",
    "env/bin/pip": "installs packages",
    ". env/bin/activate": "changes the shell",
    "source": "changes the shell",
    "sudo": "needs root",
    "apt": "needs root",
    "ssh": "another machine",
    "scp": "another machine",
    "rsync": "another machine",
    "systemctl": "needs a service manager",
    "docker": "needs containers",
    "git clone": "needs a network",
    "curl": "asks a server that is not started here; tests/e2e/test_e2e_examples.py does",
    "python serve.py": "serves until it is stopped; tests/e2e/test_e2e_examples.py starts it",
    "uv": "needs a network",
    "trtexec": "needs an NVIDIA GPU",
    "nvpmodel": "needs a Jetson",
    "bertc demo": "needs a package with weights, which `make demo` installs",
    "bertc build": "needs an NVIDIA GPU with TensorRT",
    "bertc emulator setup": "downloads a userland",
    "bertc emulator remove": "would remove the emulators of this user",
}
"""Commands that do not run, by their first words."""


def placeholders() -> Mapping[str, str]:
    """Regular expressions of what is replaced in a command or file, and by what, in this order."""
    return {
        r"\bMODEL\b|\bpath/to/checkpoint\b": MODEL,
        r"\bX\.bundle\b": f"{MODEL}-{detect_native().id}.bundle",
        r"\bX-(?=[a-z])": f"{MODEL}-",
        r"(?<![\w.])env/bin/(?=bertc|python)": "",
    }


def substituted(text: str) -> str:
    """A command or file with every placeholder replaced."""
    for pattern, value in placeholders().items():
        text = re.sub(pattern, value, text)
    return text


def quickened(text: str, max_drop: str | None) -> str:
    """A command that takes less time, and whose gate is `max_drop` where one is given.

    A checkpoint of random weights says nothing of accuracy: its gate must not decide.
    """
    added = [
        flags for start, flags in QUICK.items() if text.startswith(start) and flags.split()[0] not in text
    ]
    if max_drop is not None and re.match(r"bertc (compile|validate)\b", text):
        text = re.sub(r" --(max-drop|min-agreement) \S+", "", text)
        added.append(f"--max-drop {max_drop}")
    return " ".join([*text.split(" ", 2)[:2], *added, *text.split(" ", 2)[2:]])


def reason_to_skip(command: Command) -> str | None:
    """Why a command of a page is not run here; None where it is."""
    text = command.text
    for start, reason in SKIPPED.items():
        if text == start or text.startswith(f"{start} "):
            return reason
    if " ..." in text:
        return "a part of it is left out"
    if command.on_device and not _is_native(substituted(text)):
        return "needs the device itself"
    return None


def _is_native(text: str) -> bool:
    """Whether every bundle that a command names is for this machine, and it names one."""
    bundles = re.findall(r"[\w.-]+\.bundle\b", text)
    return bool(bundles) and all(each.endswith(f"-{detect_native().id}.bundle") for each in bundles)
