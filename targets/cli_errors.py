"""How a command ends: an exit code, and two lines on stderr where something is wrong."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence

import click

from targets.errors import INTERRUPTED, BertcError, UsageError

DEBUG_VARIABLE = "BERTC_DEBUG"


def main_guard(command: click.Command, argv: Sequence[str] | None = None, prog_name: str = "bertc") -> int:
    """Runs a command and turns whatever ends it into an exit code.

    Errors are printed as one line of what is wrong and one of what to do next. A traceback is shown only
    where the environment variable `BERTC_DEBUG` is set. A reader that closes its end of a pipe ends the
    command quietly.

    Args:
        command: the click command or group.
        argv: the arguments after the program's name; None for the process's own.
        prog_name: the program's name in help and usage lines.

    Returns:
        0, or the exit code of the error (see `targets.errors`); 130 after an interrupt.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if os.environ.get(f"_{prog_name.upper()}_COMPLETE"):
        return _complete(command, arguments, prog_name)
    try:
        with command.make_context(prog_name, arguments) as context:
            command.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        return error.exit_code
    except BrokenPipeError:
        _silence_stdout()
        return 0
    except (KeyboardInterrupt, click.Abort):
        print_error("interrupted", "")
        return INTERRUPTED
    except Exception as error:  # the last resort of the command line: reported, never swallowed
        return _report(error)
    return 0


def print_error(message: str, hint: str) -> None:
    """Prints what is wrong and what to do next to stderr."""
    click.echo(f"error: {one_line(message)}", err=True)
    if hint:
        click.echo(f"hint: {one_line(hint)}", err=True)


def print_warning(message: str) -> None:
    """Prints a warning, which names its consequence, to stderr."""
    click.echo(f"warning: {one_line(message)}", err=True)


def _complete(command: click.Command, arguments: list[str], prog_name: str) -> int:
    """Answers a shell that completes a line: nothing may be printed into what is being typed."""
    try:
        command.main(arguments, prog_name=prog_name)
    except SystemExit as ended:
        return int(ended.code or 0)
    except Exception:
        if os.environ.get(DEBUG_VARIABLE, "") not in ("", "0"):
            raise
    return BertcError.exit_code


def _report(error: Exception) -> int:
    if os.environ.get(DEBUG_VARIABLE, "") not in ("", "0"):
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, BertcError):
        print_error(error.message, error.hint)
        return error.exit_code
    if isinstance(error, click.ClickException):
        return _report_click(error)
    if isinstance(error, OSError):
        return _report_os(error)
    if isinstance(error, MemoryError):
        print_error("out of memory", "give fewer or shorter texts at a time, or a machine with more memory")
        return BertcError.exit_code
    print_error(
        f"unexpected {type(error).__name__}: {error}", f"set {DEBUG_VARIABLE}=1 to see where, and report it"
    )
    return BertcError.exit_code


def _report_click(error: click.ClickException) -> int:
    context = error.ctx if isinstance(error, click.UsageError) else None
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        click.echo(context.get_help(), err=True)
        return UsageError.exit_code
    path = context.command_path if context is not None else "bertc"
    print_error(error.format_message().rstrip("."), f"see `{path} --help`")
    return UsageError.exit_code


def _report_os(error: OSError) -> int:
    where = f"{error.filename}: " if error.filename else ""
    reason = error.strerror or str(error) or type(error).__name__
    hints = {
        errno.ENOSPC: "free some space and try again",
        errno.EACCES: "check the permissions",
        errno.EPERM: "check the permissions",
        errno.EROFS: "give a place that can be written",
        errno.ENOENT: "check the path",
        errno.EISDIR: "give a file",
        errno.ENOTDIR: "give a folder",
    }
    print_error(f"{where}{reason}", hints.get(error.errno or 0, f"set {DEBUG_VARIABLE}=1 to see where"))
    return BertcError.exit_code if error.errno == errno.ENOSPC else UsageError.exit_code


def one_line(text: str) -> str:
    """The text on one line, without the control characters that a hostile name could carry."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """The text with a blank for every control character."""
    return "".join(char if char.isprintable() else " " for char in text)


def _silence_stdout() -> None:
    """Points stdout at nothing, so that the interpreter's last flush does not fail."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
