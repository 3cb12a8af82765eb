"""bertc.toml: what it may hold, what is refused, and how flags and file come together."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import compiler.compile as stages
from compiler.cli.compile import compile_command
from compiler.cli.config import config_text
from compiler.config import config_keys, read_config
from compiler.manifest import config_record
from compiler.options import CompileOptions
from targets.errors import UsageError
from tests.support.compiling import Ran, bertc

ELSEWHERE = {"json", "config", "from-manifest", "dry-run", "verbose"}
"""Flags of `bertc compile` that are of one run, and no options of the compile."""
FLAGS = {
    max(each.opts, key=len).removeprefix("--"): each
    for each in compile_command.params
    if each.name != "model"
}

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to(text: str) -> Path:
        path = tmp_path / "bertc.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return to


def uncommented(text: str) -> str:
    return re.sub(r"^#(?=[a-z-]+ = )", "", text, flags=re.MULTILINE)


def test_every_flag_of_a_compile_is_a_key() -> None:
    assert set(FLAGS) - ELSEWHERE == set(config_keys()) - {"model"}
    assert {each.name for each in fields(CompileOptions)} - {"targets"} <= set(config_keys().values())


def test_what_is_written_says_every_key_in_the_words_of_the_help() -> None:
    text = config_text()
    assert tomllib.loads(text) == {}
    shown = re.findall(r"^#([a-z-]+) = ", text, re.MULTILINE)
    assert shown[:4] == ["model", "target", "calibration-data", "eval-data"]
    assert sorted(shown) == sorted(config_keys())
    words = " ".join(line.removeprefix("# ") for line in text.splitlines())
    for key in set(FLAGS) - ELSEWHERE:
        assert " ".join(FLAGS[key].help.split()) in words  # type: ignore[attr-defined]


def test_what_is_written_can_be_used_as_shown(write: Write) -> None:
    config: dict[str, Any] = {**read_config(write(uncommented(config_text())))}
    assert set(config) == set(config_keys().values())
    examples = {
        re.findall(r"^#([a-z-]+) =", line)[0] for line in config_text().splitlines() if "# an ex" in line
    }
    for each in fields(CompileOptions):
        if each.name != "targets" and each.name.replace("_", "-") not in examples:
            assert config[each.name] == each.default, each.name
    del config["prune_flops"], config["prune_speedup"]
    targets = config.pop("target")
    del config["model"], config["output"]
    CompileOptions(targets=targets, **config).check()


def test_values_come_out_as_compile_model_takes_them(write: Write, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "plain").touch()
    (tmp_path / "shop.toml").write_bytes(
        (Path(stages.__file__).parents[1] / "targets" / "profiles" / "x86-64-vnni.toml").read_bytes()
    )
    path = write(
        'model = "model"\ntarget = ["shop.toml", "raspberry-pi-5", "native"]\noutput = "../out"\n'
        'calibration-data = "train.jsonl"\neval-data = "plain"\ndump-ir = "ir"\nsign-key = "/keys/k"\n'
        'prune-shape = "8x64"\nprune-targets = ["ffn"]\nprune-flops = 1\nmax-drop = 0.5\nsmooth = false\n'
        'precision = "auto"\nthreads = 2\n'
    )
    assert read_config(path) == {
        "model": str(tmp_path / "model"),
        "target": (str(tmp_path / "shop.toml"), "raspberry-pi-5", "native"),
        "output": tmp_path / ".." / "out",
        "calibration_data": str(tmp_path / "train.jsonl"),
        "eval_data": str(tmp_path / "plain"),
        "dump_ir": tmp_path / "ir",
        "sign_key": Path("/keys/k"),
        "prune_shape": (8, 64),
        "prune_targets": ("ffn",),
        "prune_flops": 1.0,
        "max_drop": 0.5,
        "smooth": False,
        "precision": "auto",
        "threads": 2,
    }


def test_names_are_no_paths(write: Write, tmp_path: Path) -> None:
    path = write('model = "org/model"\ncalibration-data = "glue/sst2:train"\neval-data = "../imdb"\n')
    found = read_config(path)
    assert (found["model"], found["calibration_data"]) == ("org/model", "glue/sst2:train")
    assert found["eval_data"] == str(tmp_path / ".." / "imdb")
    assert read_config(write('target = "rtx-ada"'))["target"] == ("rtx-ada",)
    assert read_config(write('model = "tiny.onnx"'))["model"] == str(tmp_path / "tiny.onnx")
    assert read_config(write("\ufeffseed = 3"))["seed"] == 3


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("max_drop = 0.1", ["unknown key 'max_drop'", "did you mean max-drop?"]),
        ("max-dorp = 0.1", ["unknown key 'max-dorp'", "did you mean max-drop?"]),
        ("targets = ['native']", ["unknown key 'targets'", "did you mean target or"]),
        ("json = true", ["unknown key 'json'"]),
        ("[prune]\nflops = 0.5", ["unknown table [prune]"]),
        ("[[target]]\nid = 'a'", ["unknown table [target]"]),
        ("runtime = {a = 1}", ["unknown table [runtime]"]),
        ("seed = 1\nmax-drop = = 1", ["is not TOML", "line 2"]),
        ("seed = 1\nseed = 2\n", ["is not TOML", "line 2"]),
        ("max-drop = '1'", ["max-drop must be a number, not a string"]),
        ("max-drop = true", ["max-drop must be a number, not a boolean"]),
        ("max-drop = nan", ["max-drop must be a finite number"]),
        ("max-drop = 5", ["max-drop 5.0 is not a drop"]),
        ("threads = true", ["threads must be an integer, not a boolean"]),
        ("threads = 1.5", ["threads must be an integer"]),
        ("smooth = 'no'", ["smooth must be true or false"]),
        ("precision = 'int9'", ["precision must be one of int8", "'int9'"]),
        ("prune = true", ["prune must be one of auto"]),
        ("prune-shape = '1y2'", ["prune-shape must be BATCHxTOKENS"]),
        ("prune-shape = [1, 128]", ["prune-shape must be a string, not a list"]),
        ("prune-shape = '0x1'", ["prune-shape 0x1"]),
        ("prune-targets = 'heads'", ["prune-targets must be a list"]),
        ("prune-targets = ['head']", ["prune-targets 'head' is not known"]),
        ("calibration-samples = 3", ["calibration-samples 3 is too few"]),
        ("ranges = 'best'", ["ranges 'best' is not known"]),
        ("name = '../x'", ["name '../x'"]),
        ("model = ' '", ["model is empty"]),
        ("dump-ir = ''", ["dump-ir is empty"]),
        ("eval-data = 3", ["eval-data must be a string"]),
        ("eval-data = 'a\\u0000b'".replace("'", '"'), ["eval-data holds a control character"]),
        ("target = 3", ["target must be a string"]),
        ("target = [3]", ["target[0] must be a string"]),
        ("target = []", ["no target"]),
        ("target = 'nativ'", ["target 'nativ'", "did you mean native?"]),
        ("target = 'none.toml'", ["target profile", "none.toml"]),
        ("a = " + "[" * 5000, ["is not TOML"]),
    ],
)
def test_refusals_name_file_and_key(write: Write, text: str, parts: list[str]) -> None:
    path = write(text)
    with pytest.raises(UsageError) as caught:
        read_config(path)
    assert caught.value.hint
    assert "--max-drop" not in caught.value.message
    assert caught.value.message.startswith(str(path))
    for part in parts:
        assert part in caught.value.message


def test_what_is_no_file_of_text(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"name = '\xff'")
    (tmp_path / "large.toml").write_bytes(b"#" * (1 << 21))
    for name in ("bytes.toml", "large.toml", "none.toml", "."):
        with pytest.raises(UsageError, match=re.escape(str(tmp_path / name))):
            read_config(tmp_path / name)


Compile = Callable[..., dict[str, Any]]


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Compile:
    """`compiled(*argv)`: the arguments that `compile_model` got, and what the command printed."""

    def call(*argv: object) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def compile_model(model: str, output: Path, *, target: Any, progress: Any, **options: Any) -> None:
            del progress
            seen.update(model=model, output=output, target=target, **options)
            raise UsageError("enough", "seen")

        monkeypatch.setattr(stages, "compile_model", compile_model)
        ran = bertc("compile", *argv)
        assert ran.errors[0] == "error: enough", ran.err
        return {**seen, "err": ran.err}

    return call


def manifest_config(asked: dict[str, Any]) -> dict[str, Any]:
    names = {each.name for each in fields(CompileOptions)}
    return config_record(CompileOptions(**{name: value for name, value in asked.items() if name in names}))


def test_file_and_flags_are_what_flags_are(compiled: Compile, write: Write) -> None:
    path = write(
        'model = "org/m"\ntarget = "rtx-ada"\nmax-drop = 0.5\nprune-flops = 0.5\nprune-shape = "8x64"\n'
        'prune-targets = ["ffn"]\nruntime = "openvino"\nsmooth = true\nreport = false\nforce = true\n'
    )
    mixed = compiled("--config", path, "--max-drop", "0.02", "--no-smooth", "--report", "-t", "native")
    flags = compiled(
        *("org/m", "--prune-flops", 0.5, "--prune-shape", "8x64", "--prune-targets", "ffn", "--force"),
        *("--runtime", "openvino", "--max-drop", "0.02", "--no-smooth", "--report", "-t", "native"),
    )
    assert mixed == flags
    assert manifest_config(mixed) == manifest_config(flags)
    assert manifest_config(mixed)["smooth"] is False
    assert manifest_config(mixed)["prune_shape"] == [8, 64]


def test_what_the_command_line_leaves_open_is_the_files(compiled: Compile, write: Write) -> None:
    path = write('model = "org/m"\noutput = "out"\ntarget = "rtx-ada"\nseed = 7\n')
    asked = compiled("--config", path)
    assert (asked["model"], asked["output"]) == ("org/m", path.parent / "out")
    assert (asked["target"], asked["seed"]) == (("rtx-ada",), 7)
    asked = compiled("other", "--config", path, "-o", "here", "--seed", 0)
    assert (asked["model"], asked["output"], asked["seed"]) == ("other", Path("here"), 0)


def test_a_budget_of_the_command_line_stands_for_the_files(compiled: Compile, write: Write) -> None:
    path = write('model = "org/m"\nprune-flops = 0.5\n')
    asked = compiled("--config", path, "--prune-speedup", 1.5)
    assert (asked["prune_flops"], asked["prune_speedup"]) == (None, 1.5)
    assert f"warning: --prune-speedup takes the place of prune-flops of {path}" in asked["err"]
    again = compiled("--config", path, "--prune-flops", 0.7)
    assert again["prune_flops"] == 0.7
    assert "warning" not in again["err"]
    write('model = "org/m"\nprune-flops = 0.5\nprune = "auto"\n')
    bertc("compile", "--config", path).fails(2, str(path), "prune-flops and prune are 2 budgets")


def test_refusals_of_the_command(write: Write) -> None:
    path = write("seed = 1\n")
    bertc("compile", "--config", path).fails(2, "MODEL")
    bertc("compile", "m", "--config", path, "--from-manifest", "b").fails(2, "--config", "--from-manifest")
    bertc("compile", "m", "--config", write("smoth = true")).fails(2, "'smoth'", "did you mean smooth?")


def test_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bertc("config", "init").code == 0
    path = tmp_path / "bertc.toml"
    assert path.read_text(encoding="utf-8") == config_text()
    path.write_text("seed = 1\n")
    bertc("config", "init").fails(2, "bertc.toml is there already", "--force")
    assert path.read_text() == "seed = 1\n"
    ran: Ran = bertc("config", "init", "--force", "--json")
    assert (ran.code, ran.err, json.loads(ran.out)) == (0, "", {"path": "bertc.toml"})
    assert path.read_text(encoding="utf-8") == config_text()
    bertc("config", "init", "no/folder.toml").fails(2, "no/folder.toml")
