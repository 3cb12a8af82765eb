"""The tables of `python -m tools.attack_bundles`, and the mutations of `python -m tools.fuzz_bundle`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bundle_attacks.attack import Attack
from tests.bundle_attacks.server import Outcome
from tests.support.hostile import READERS, Reader
from tools import attack_bundles, fuzz_bundle
from tools.attack_bundles import Row, counts, page, plain


def row(kind: str, name: str, code: int, *problems: str, reason: str = "") -> Row:
    attack = Attack(kind, name, ("verify",), lambda _: None, reason=reason)
    return Row(attack, Outcome("verify", code, "error: it | is <wrong>", 12.0, 0.123, tuple(problems)))


ROWS = [row("paths", "a", 5), row("paths", "b", 6, "it printed"), row("texts", "*", 0, reason="text")]


def test_the_tables() -> None:
    assert counts(ROWS) == [
        ("paths", "2", "2", "1", "1", "0", "0", "1"),
        ("texts", "1", "1", "0", "0", "0", "1", "0"),
        ("all", "3", "3", "1", "1", "0", "1", "1"),
    ]
    assert ROWS[0].cells() == ("paths", "a", "verify", "5", "it | is <wrong>", "10", "0.1")
    assert ROWS[2].cells()[4] == "(text)"
    text = page(ROWS)
    assert "| a | verify | 5 | it \\| is \\<wrong> | 10 | 0.1 |" in text
    assert "## Texts" in text
    assert plain(ROWS).splitlines()[0].split() == [
        "kind",
        "attack",
        "command",
        "exit",
        "what",
        "it",
        "says",
        "MiB",
        "more",
        "seconds",
    ]


def test_one_kind_by_the_tool(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack_bundles, "run", lambda _: ROWS)
    assert attack_bundles.main(["--kind", "race"]) == 1
    captured = capsys.readouterr()
    assert captured.err == "paths: b [verify]: it printed\n"
    with pytest.raises(SystemExit):
        attack_bundles.main(["--kind", "none"])


def test_fuzzing_by_mutations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--mutations", "--seconds", "0.2", "--keep", str(tmp_path / "kept"), "--target", "selftest"]
    assert fuzz_bundle.main(options) == 0
    assert not (tmp_path / "kept").exists()

    class Broken(Reader):
        seeds = (b"abc",)

        def read(self, data: bytes) -> bool:
            raise ValueError(data)

    monkeypatch.setitem(READERS, "selftest", lambda _: Broken())
    assert fuzz_bundle.main(options) == 1
    assert all(path.name.startswith("selftest-") for path in (tmp_path / "kept").iterdir())
