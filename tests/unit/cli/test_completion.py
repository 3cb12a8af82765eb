"""What shells are told when a command is completed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from compiler.cli.group import make_group
from targets.cli_errors import main_guard
from targets.registry import list_targets
from tests.support.compiling import bertc

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("numpy", "torch", "onnx", "onnx_ir", "transformers", "rich", "onnxruntime", "openvino", "tokenizers")


def python(*argv: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


Complete = Callable[[str], list[str]]


@pytest.fixture
def complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Complete:
    """The lines that bash gets, in an empty folder, for a command line whose last word is completed."""
    monkeypatch.chdir(tmp_path)

    def call(line: str) -> list[str]:
        words = line.split(" ")
        monkeypatch.setenv("_BERTC_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", "\n".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        assert main_guard(make_group(), []) == 0
        out, err = capsysbinary.readouterr()
        assert err == b""
        return out.decode().split()

    return call


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("bertc comp", ["plain,compile", "plain,completion"]),
        ("bertc config ", ["plain,init"]),
        (
            "bertc compile --prune-s",
            ["plain,--prune-speedup", "plain,--prune-shape", "plain,--prune-samples"],
        ),
        ("bertc compile --precision int8-", ["plain,int8-dynamic", "plain,int8-weights"]),
        ("bertc compile -t rasp", ["plain,raspberry-pi-4", "plain,raspberry-pi-5"]),
        ("bertc compile -t sh", ["plain,shop.toml"]),
        ("bertc compile -t ../", ["file,../"]),
        ("bertc compile m", ["file,m"]),
        ("bertc compile --config ", ["file,"]),
        ("bertc compile --ranges m", ["plain,minmax", "plain,mse"]),
        ("bertc validate X --emulate rasp", ["plain,raspberry-pi-4", "plain,raspberry-pi-5"]),
        ("bertc emulator setup a", ["plain,arm64", "plain,avx2"]),
        ("bertc emulator run cortex-a76", ["plain,cortex-a76"]),
        ("bertc run o", ["dir,o"]),
        ("bertc tune one.bundle o", ["dir,o"]),
        ("bertc targets show jetson-o", ["plain,jetson-orin"]),
        ("bertc completion f", ["plain,fish"]),
        ("bertc targets requirements x --runtime openv", ["plain,openvino"]),
    ],
)
def test_what_is_offered(complete: Complete, line: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "shop.toml").touch()
    assert complete(line) == expected


def test_every_target_is_offered(complete: Complete) -> None:
    ids = {f"plain,{each.id}" for each in list_targets()}
    assert set(complete("bertc compile --target ")) == {"plain,native", *ids}


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    code = (
        "import atexit, sys\n"
        f"heavy = lambda: [each for each in {HEAVY} if each in sys.modules]\n"
        "atexit.register(lambda: print(heavy(), file=sys.stderr))\n"
        "from compiler.cli.group import make_group\nfrom targets.cli_errors import main_guard\n"
        "main_guard(make_group(), [])"
    )
    for words in ("bertc\ncompile\n--target\nx", "bertc\nvalidate\nX\n--emulate\n"):
        done = python(
            *("-c", code),
            folder=tmp_path,
            _BERTC_COMPLETE="bash_complete",
            COMP_WORDS=words,
            COMP_CWORD=str(words.count("\n")),
        )
        assert "plain," in done.stdout
        assert done.stderr == "[]\n"


@pytest.mark.parametrize("variables", [{}, {"COMP_WORDS": "bertc 'x", "COMP_CWORD": "y"}])
@pytest.mark.parametrize("instruction", ["bash_complete", "zsh_complete", "ksh_complete", "nonsense"])
def test_errors_are_quiet(tmp_path: Path, variables: dict[str, str], instruction: str) -> None:
    done = python("-m", "compiler.cli", folder=tmp_path, _BERTC_COMPLETE=instruction, **variables)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_an_empty_variable_asks_for_nothing(tmp_path: Path) -> None:
    done = python("-m", "compiler.cli", "--version", folder=tmp_path, _BERTC_COMPLETE="")
    assert "bertc" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_say_where_they_go(shell: str) -> None:
    ran = bertc("completion", shell)
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[shell == "zsh"].startswith("# Put this into ")
    assert (lines[0] == "#compdef bertc") == (shell == "zsh")
    assert f"_BERTC_COMPLETE={shell}_complete" in ran.out
    document = json.loads(bertc("completion", shell, "--json").out)
    assert document == {"shell": shell, "script": ran.out.rstrip("\n")}


def test_other_shells_are_named() -> None:
    bertc("completion", "ksh").fails(2, "'ksh'")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_script_works_in_bash(tmp_path: Path) -> None:
    program = tmp_path / "bertc"
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m compiler.cli "$@"\n', encoding="utf-8"
    )
    program.chmod(0o755)
    (tmp_path / "script").write_text(bertc("completion", "bash").out, encoding="utf-8")
    lines = (
        "source ./script || exit 9",
        "COMP_WORDS=(bertc compile --target rasp) COMP_CWORD=3",
        "_bertc_completion bertc rasp --target",
        'printf "%s\\n" "${COMPREPLY[@]}"',
        "complete -p bertc",
    )
    done = subprocess.run(
        ["bash", "--norc", "--noprofile", "-c", "\n".join(lines)],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[:2] == ["raspberry-pi-4", "raspberry-pi-5"]
    assert "_bertc_completion bertc" in done.stdout
