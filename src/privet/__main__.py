"""Entry of the command line: `privet ...` and `python -m privet ...`."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line; a deliberate error is one sentence on standard error and exit code 2."""
    # Spinning worker threads make everything many times slower when the cores have other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from privet.cli import app
    from privet.errors import MissingExtra, PrivetError

    if sys.stdout is None:  # what Python makes of a closed one
        sys.exit(_say(OSError("standard output is closed; open it, or send it to a file or to /dev/null")))
    try:
        try:
            app()
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C has nothing to stop but Python's own end
            sys.stdout.flush()
    except PrivetError as problem:
        sys.exit(_say(problem))
    except ModuleNotFoundError as problem:
        if problem.name is None or problem.name.startswith("privet"):
            raise
        sys.exit(_say(MissingExtra(problem.name, "lab")))
    except BrokenPipeError:
        _mute()
        sys.exit(1)
    except OSError as problem:
        if problem.filename is not None:
            raise
        _mute()
        told = f"standard output cannot be written ({problem.strerror or problem}); send it to where there is room"
        sys.exit(_say(OSError(told)))


def _mute() -> None:
    """What is left in the buffer must not fail once more when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(problem: Exception) -> int:
    print(f"privet: {problem}", file=sys.stderr)  # noqa: T201
    return 2


def entry() -> None:
    """`main` as a program. A refusal ends at once: where a library's threads are just starting, Python's own end may
    abort."""
    try:
        main()
    except SystemExit as end:
        if end.code != 2:
            raise
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(2)


if __name__ == "__main__":
    entry()
