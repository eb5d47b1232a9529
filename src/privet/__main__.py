"""Entry of the command line: `privet ...` and `python -m privet ...`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; a deliberate error is one sentence on standard error and exit code 2."""
    # Spinning worker threads make everything many times slower when the cores have other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from privet.cli import app
    from privet.errors import MissingExtra, PrivetError

    try:
        app()
    except PrivetError as problem:
        sys.exit(_say(problem))
    except ModuleNotFoundError as problem:
        if problem.name is None or problem.name.startswith("privet"):
            raise
        sys.exit(_say(MissingExtra(problem.name, "lab")))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _say(problem: Exception) -> int:
    print(f"privet: {problem}", file=sys.stderr)  # noqa: T201
    return 2


if __name__ == "__main__":
    main()
