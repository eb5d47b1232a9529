"""What a terminal shows."""

from __future__ import annotations

import io

from rich.console import Console

from privet.screen import Screen
from privet.study import Event


def test_brackets_are_shown_as_they_are() -> None:
    """`pip install 'privet[zoo]'` is no markup."""
    shown = io.StringIO()
    with Screen(Console(file=shown, width=200)) as screen:
        screen.listen(Event("a", "not run: pip install 'privet[zoo]'", ended=True))
    assert "'privet[zoo]'" in shown.getvalue()
