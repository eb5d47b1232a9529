"""What a terminal shows while several studies run: the estimate, then one bar over all of their trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privet.screen import Screen, _duration

if TYPE_CHECKING:
    from privet.recipes.reproduce import Work


class Stages(Screen):
    """The audit's screen, told of many studies at once."""

    def plan(self, work: Work) -> None:
        """What will be run and about how long, before the first trial."""
        self._drop("reading the data")
        self.trials, self.before = work.trials, work.finished
        for key, planned in work.studies.items():
            counts = (
                f"{len(planned.corpus.victim):,} victims, {len(planned.trials)} trials at {planned.study.setting.at}"
            )
            self.console.print(f"{key}: {counts}", highlight=False, style="dim")
        for key, one in work.measurements.items():
            self.console.print(f"{key}: {one.about}", highlight=False, style="dim")
        for key, why in work.absent.items():
            self.console.print(f"{key}: not run, {why}", highlight=False, style="yellow")
        missing = self.trials - self.before
        most = "up to" if work.measurements else "about"  # what of them is there is only known when they are performed
        told = f"{most} {_duration(work.seconds)}" if missing else "nothing left to compute"
        found = f", {self.before} found from before" if self.before else ""
        sizes = {"trials": self.trials - len(work.measurements), "measurements": len(work.measurements)}
        asked = " and ".join(f"{n} {what}" for what, n in sizes.items() if n)
        self.console.print(f"{asked}{found}: {told}", highlight=False)
        self._bar("audit", self.before, self.trials)
