"""Pages name commands, flags and choices that bertc has; the tool that runs them reads pages right."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.cli.group import make_group
from targets.registry import detect_native
from tools.docs import running
from tools.docs.flags import complaint, unknown_flags
from tools.docs.pages import Command, File, bertc_words, inline_commands, read_page, words
from tools.docs.running import Inputs, Outcome, run_page
from tools.docs.substitutions import QUICK, SKIPPED, quickened, reason_to_skip, substituted
from tools.docs_commands import ROOT, main, pages, summary

PAGES = sorted({ROOT / "CONTRIBUTING.md", *pages(), *(ROOT / "docs").rglob("*.md")})
GROUP = make_group()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_what_bertc_has(page: Path) -> None:
    text = page.read_text("utf-8")
    wrong = []
    for each in read_page(text):
        argv = bertc_words(each.text) if isinstance(each, Command) else None
        said = complaint(GROUP, argv) if argv is not None else None
        if said is not None:
            wrong.append(f"line {each.line}: {said}")
    for inline in inline_commands(text):
        wrong += [f"{inline}: no {flag}" for flag in unknown_flags(GROUP, inline.split()[1:])]
    assert wrong == []


def test_the_pages_that_run_are_those_for_users() -> None:
    names = [page.relative_to(ROOT).as_posix() for page in pages()]
    assert names[0] == "README.md"
    tutorials = {"raspberry-pi", "jetson", "intel-nuc", "x86-gateway"}
    assert {f"docs/tutorials/{each}.md" for each in tutorials} <= set(names)
    for page in pages():
        assert any(isinstance(each, Command) for each in read_page(page.read_text("utf-8"))), page


@pytest.mark.parametrize("name", ["raspberry-pi", "jetson", "intel-nuc", "x86-gateway"])
def test_tutorials_are_short_and_go_to_the_device(name: str) -> None:
    text = (ROOT / "docs" / "tutorials" / f"{name}.md").read_text("utf-8")
    assert len(text.splitlines()) <= 110
    shown = [each.text for each in read_page(text) if isinstance(each, Command)]
    for verb in ("compile", "sign", "pack", "unpack", "check-device", "verify", "selftest", "run", "bench"):
        assert any(each.startswith(f"bertc {verb} ") for each in shown), verb


PAGE = """# A page

Prose with `bertc run --file` and
`bertc bench X.bundle`.

    bertc compile MODEL --target native \\
        -o out/            # a comment
    # a line of comment

    bertc run out/X.bundle --text "a # b"

    positive 0.9980  a gripping film

    $ bertc check-device out/X.bundle   # on the device; exits with 6
    error: no
    $ bertc doctor

```toml
# bertc.toml
model = "MODEL"
```

```bash
cut -f 1 a.tsv > b.txt
```

```python
import bertc
```
"""


def test_commands_and_files_are_found() -> None:
    compile_, run, check, doctor, file, cut = read_page(PAGE)
    assert compile_ == Command(6, "bertc compile MODEL --target native -o out/")
    assert run == Command(10, 'bertc run out/X.bundle --text "a # b"')
    assert check == Command(14, "bertc check-device out/X.bundle", exit_code=6, on_device=True)
    assert doctor == Command(16, "bertc doctor")
    assert isinstance(file, File)
    assert (file.name, file.text) == ("bertc.toml", '# bertc.toml\nmodel = "MODEL"\n')
    assert cut == Command(24, "cut -f 1 a.tsv > b.txt")
    assert inline_commands(PAGE) == ["bertc run --file", "bertc bench X.bundle"]


def test_words_end_where_the_command_does() -> None:
    assert words("bertc targets requirements raspberry-pi-5 > r.txt") == [
        *("bertc", "targets", "requirements", "raspberry-pi-5"),
    ]
    assert bertc_words("env/bin/bertc run X --text 'a b' | head") == ["run", "X", "--text", "a b"]
    assert bertc_words("scp out/X.bundle.tar pi:") is None


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        ("compile MODEL --nonesuch 3", "--nonesuch"),
        ("compile MODEL --precision int9", "int9"),
        ("compile MODEL -o", "requires an argument"),
        ("run", "BUNDLE"),
        ("sign X.bundle", "--key"),
        ("verify A B", "does not take B"),
        ("nonesuch", "nonesuch"),
        ("targets nonesuch", "nonesuch"),
        ("config init --nonesuch", "--nonesuch"),
    ],
)
def test_what_bertc_lacks_is_said(argv: str, part: str) -> None:
    said = complaint(GROUP, argv.split())
    assert said is not None
    assert part in said


@pytest.mark.parametrize(
    "argv",
    [
        "compile MODEL --target native --calibration-data a.tsv -o out/",
        "compile MODEL --sign-key deploy ...",
        "sign X.bundle ...",
        "targets",
        "targets requirements raspberry-pi-5",
        "emulator run raspberry-pi-5 run X.bundle --text a",
        "compile --no-report",
        "--help",
    ],
)
def test_what_bertc_has_passes(argv: str) -> None:
    assert complaint(GROUP, argv.split()) is None


def test_flags_in_prose_are_known() -> None:
    assert unknown_flags(GROUP, ["run", "--file", "--nonesuch=2"]) == ["--nonesuch"]
    assert unknown_flags(GROUP, ["emulator", "setup", "--locked", "-h"]) == []


def test_placeholders_are_replaced() -> None:
    native = f"minilm-sst2-{detect_native().id}.bundle"
    assert substituted("bertc run out/X.bundle") == f"bertc run out/{native}"
    assert substituted("env/bin/bertc inspect MODEL") == "bertc inspect minilm-sst2"
    assert substituted("out/X-jetson-orin.bundle") == "out/minilm-sst2-jetson-orin.bundle"
    assert substituted('model = "path/to/checkpoint"') == 'model = "minilm-sst2"'


def test_long_commands_are_made_short_and_the_gate_is_opened() -> None:
    assert (
        quickened("bertc tune X.bundle | head", None) == f"bertc tune {QUICK['bertc tune']} X.bundle | head"
    )
    assert quickened("bertc bench X.bundle --seconds 3", None) == "bertc bench X.bundle --seconds 3"
    assert quickened("bertc compile M --max-drop 0.02", "1") == "bertc compile --max-drop 1 M"
    assert quickened("bertc compile M --max-drop 0.02", None) == "bertc compile M --max-drop 0.02"


def test_what_needs_another_machine_is_skipped() -> None:
    native = detect_native().id
    assert reason_to_skip(Command(1, "make demo")) == SKIPPED["make"]
    assert reason_to_skip(Command(1, "makeshift")) is None
    assert reason_to_skip(Command(1, "bertc compile MODEL ...")) == "a part of it is left out"
    on_device = "needs the device itself"
    assert reason_to_skip(Command(1, "bertc doctor", on_device=True)) == on_device
    assert reason_to_skip(Command(1, "bertc run M-jetson-orin.bundle", on_device=True)) == on_device
    assert reason_to_skip(Command(1, f"bertc run models/M-{native}.bundle", on_device=True)) is None


def ran(tmp_path: Path, text: str) -> list[Outcome]:
    """What comes of a page with that text."""
    page, data = tmp_path / "page.md", tmp_path / "data.tsv"
    page.write_text(text, encoding="utf-8")
    data.write_text("sentence\tlabel\na film \t1\n", encoding="utf-8")
    model = tmp_path / "model"
    model.mkdir()
    return list(run_page(page, Inputs(model, data, data), tmp_path / "scratch"))


def test_a_page_runs_in_its_order_with_its_files(tmp_path: Path) -> None:
    text = """
```python
# words.py
print("MODEL")
```

    python words.py > words.txt
    ssh pi
    python -c "assert open('words.txt').read() == 'minilm-sst2\\n'"
    python -c "assert open('dev.jsonl').read().startswith('{\\"text\\": \\"a film ')"
    python -c "exit(6)"    # exits with 6
    python -c "exit(6)"
"""
    outcomes = ran(tmp_path, text)
    assert [each.status for each in outcomes] == ["ran", "skipped", "ran", "ran", "ran", "failed"], outcomes
    assert outcomes[1].note == SKIPPED["ssh"]
    assert outcomes[4].note.endswith("exit 6")
    assert outcomes[5].note.startswith("exit 6, not 0")
    assert summary(outcomes) == 1
    assert summary(outcomes[:-1]) == 0


def test_bertc_is_this_checkouts(tmp_path: Path) -> None:
    outcomes = ran(tmp_path, "    bertc targets list --nonesuch\n    bertc targets show raspberry-pi-5\n")
    assert [each.status for each in outcomes] == ["failed", "ran"]
    assert "--nonesuch" in outcomes[0].note


def test_an_emulator_that_is_not_set_up_is_a_reason() -> None:
    found = running.emulator_is_missing
    assert found("bertc run X.bundle") is None
    for text in (
        "bertc emulator run raspberry-pi-5 selftest X.bundle",
        "bertc validate X.bundle --emulate raspberry-pi-5",
        "bertc compile M --target raspberry-pi-5 --validate-emulated",
    ):
        assert "arm64" in (found(text) or ""), text


def test_inputs_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--model", "m"])
    assert "go together" in capsys.readouterr().err
