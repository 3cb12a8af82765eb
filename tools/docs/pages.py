"""The shell commands and small files that a Markdown page shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

SHELLS = ("bash", "sh", "shell", "console")
PROGRAMS = (
    "bertc",
    "python",
    "python3",
    "make",
    "pip",
    "sudo",
    "apt",
    "ssh",
    "scp",
    "git",
    "source",
    "echo",
    "curl",
    ".",
)
"""First words by which an indented block is one of commands and not of output."""

_FENCE = re.compile(r"^(`{3,}|~{3,})\s*([\w+-]*)")
_FILE = re.compile(r"^# ([\w.-]+\.(?:toml|py))$")
_EXIT = re.compile(r"\bexits with (\d+)\b")
_INLINE = re.compile(r"`(bertc [^`]+)`")
_WHERE = "on the device"


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a page.

    Attributes:
        line: where it starts, counted from 1.
        text: the command on one line, without its comment.
        exit_code: what it ends with; its comment says another than 0 as in `# exits with 6`.
        on_device: whether its comment says `# on the device`.
    """

    line: int
    text: str
    exit_code: int = 0
    on_device: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """A fenced block whose first line is a comment with a name, as in `# bertc.toml`: that file."""

    line: int
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Block:
    """A code block: its language (None where it is indented), and its lines from `line` on."""

    line: int
    language: str | None
    lines: tuple[str, ...]


def read_page(text: str) -> list[Command | File]:
    """Every command and file of a page, in its order."""
    found: list[Command | File] = []
    for block in blocks(text):
        named = _FILE.match(block.lines[0]) if block.lines and block.language else None
        if named:
            found.append(File(block.line, named[1], "\n".join(block.lines) + "\n"))
        elif is_shell(block):
            found += commands(block)
    return found


def inline_commands(text: str) -> list[str]:
    """What stands between backticks in a page's prose and begins with `bertc`."""
    code = {number for block in blocks(text) for number in range(block.line, block.line + len(block.lines))}
    prose = (line for number, line in enumerate(text.splitlines(), start=1) if number not in code)
    return _INLINE.findall(" ".join(prose))


def blocks(text: str) -> Iterator[Block]:
    """Fenced blocks, and paragraphs indented by four spaces."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        start = at + 1 if fence else at
        if fence:
            end = next((n for n in range(start, len(lines)) if lines[n].startswith(fence[1])), len(lines))
            yield Block(start + 1, fence[2], tuple(lines[start:end]))
            at = end + 1
        elif lines[at].startswith("    ") and lines[at].strip() and (at == 0 or not lines[at - 1].strip()):
            end = start
            while end < len(lines) and lines[end].startswith("    ") and lines[end].strip():
                end += 1
            yield Block(start + 1, None, tuple(line[4:] for line in lines[start:end]))
            at = end
        else:
            at += 1


def is_shell(block: Block) -> bool:
    """Whether a block holds commands: by its language, or else by its first word."""
    if block.language is not None:
        return block.language in SHELLS
    first = block.lines[0]
    return first.startswith("$ ") or first.split(maxsplit=1)[0] in PROGRAMS


def commands(block: Block) -> Iterator[Command]:
    """The commands of a block: after `$` where that is used, and what is not is output; else every line."""
    prompted = any(line.startswith("$ ") for line in block.lines)
    at = 0
    while at < len(block.lines):
        start, line = at, block.lines[at]
        at += 1
        if not line.strip() or line.lstrip().startswith("#") or (prompted and not line.startswith("$ ")):
            continue
        line = line.removeprefix("$ ")
        while line.endswith("\\") and at < len(block.lines):
            line = f"{line[:-1].rstrip()} {block.lines[at].strip()}"
            at += 1
        yield command(block.line + start, line)


def command(line: int, text: str) -> Command:
    """A command, and what its trailing comment says of it."""
    match = re.search(r"(?:^|\s)#\s(.*)$", text)
    if match is None or _quoted(text[: match.start()]):
        return Command(line, text.strip())
    bare = Command(line, text[: match.start()].strip())
    code = _EXIT.search(match[1])
    return replace(bare, exit_code=int(code[1]) if code else 0, on_device=_WHERE in match[1])


def words(text: str) -> list[str]:
    """A command's words as a shell splits them, up to a pipe, redirection or second command."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[str] = []
    for word in lexer:
        if word and set(word) <= set("|&;<>()"):
            break
        found.append(word)
    return found


def bertc_words(text: str) -> Sequence[str] | None:
    """The arguments of a command that is `bertc`, wherever that is installed; else None."""
    found = words(text)
    return found[1:] if found and found[0].rpartition("/")[2] == "bertc" else None


def _quoted(text: str) -> bool:
    """Whether a quote is open at the end of a text."""
    try:
        shlex.split(text)
    except ValueError:
        return True
    return False
