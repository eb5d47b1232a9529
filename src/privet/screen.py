"""What a terminal shows while an audit runs: the estimate, one bar for the study with the time left, a line for each
running trial."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from privet.schedule import Schedule
    from privet.study import Event


class Screen:
    """Progress on standard error; on something that is not a terminal, a line now and then."""

    def __init__(self, console: Console) -> None:
        self.console = console
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.tasks: dict[str, TaskID] = {}
        self.shares: dict[str, float] = {}
        self.trials, self.before, self.spoken = 1, 0, time.monotonic()

    def __enter__(self) -> Screen:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def loading(self, done: int, total: int) -> None:
        """Decoding of pictures."""
        self._bar("reading the data", done, total)
        if done >= total:
            self._drop("reading the data")

    def announce(self, planned: Schedule) -> None:
        """The plan and the estimate, before the first trial."""
        from privet.schedule import estimate

        self._drop("reading the data")
        self.trials, self.before = len(planned.trials), len(planned.finished)
        counts = ", ".join(f"{role} {len(part):,}" for role, part in planned.corpus.parts.items())
        self.console.print(f"{planned.corpus.name}: {counts}", highlight=False)
        for note in planned.corpus.notes:
            self.console.print(f"  {note}", highlight=False, style="dim")
        for attribute, nats in planned.dependence.items():
            self.console.print(
                f"  I({planned.corpus.target}; {attribute}) = {nats:.4f} nats", highlight=False, style="dim"
            )
        missing = self.trials - self.before
        told = f"about {_duration(estimate(planned))}" if missing else "nothing left to compute"
        found = f", {self.before} found from before" if self.before else ""
        self.console.print(f"{self.trials} trials{found}: {told}", highlight=False)
        self._bar("audit", self.before, self.trials)

    def listen(self, event: Event) -> None:
        """A stage of a trial, or its end."""
        if event.ended:
            self.shares[event.trial] = 1.0
            self._drop(event.trial)
            self._say(f"{event.trial}: {event.text}", always=True)
        else:
            self.shares[event.trial] = _share(event.text, event.done / max(1, event.total))
            self._bar(event.trial, event.done, event.total, f"  {event.trial}: {event.text}")
        finished = sum(share for trial, share in self.shares.items() if not trial.startswith("task,"))
        if "audit" in self.tasks:
            self._bar("audit", self.before + finished, self.trials)

    def stage(self, trial: str) -> Callable[[str, int, int], None]:
        """A listener for one job outside a study."""
        from privet.study import Event

        return lambda text, done, total: self.listen(Event(trial, text, done, total))

    def _bar(self, name: str, done: float, total: float, text: str | None = None) -> None:
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(text or name, total=total)
        self.progress.update(self.tasks[name], completed=done, total=total, description=text or name)
        self._say(f"{text or name} {100 * done / max(total, 1e-9):.0f} %")

    def _drop(self, name: str) -> None:
        if name in self.tasks:
            self.progress.remove_task(self.tasks.pop(name))

    def _say(self, text: str, always: bool = False) -> None:
        if self.console.is_terminal or not (always or time.monotonic() - self.spoken > 15):
            return
        self.spoken = time.monotonic()
        self.console.print(text.strip(), highlight=False, soft_wrap=True, markup=False)


def _share(text: str, done: float) -> float:
    """How far a trial is: fitting takes about a third of it, attacking the rest."""
    return 0.3 * done if text.startswith(("fitting", "training")) else 0.3 + 0.7 * done


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
