"""The command line with one more effort, `tiny`, for tests that need a process: `python tests/driver.py audit ...`.

Worker processes import this file, too, and so know the effort."""

from __future__ import annotations

from dataclasses import replace

from privet.train import EFFORTS, Effort

TINY = replace(
    Effort.named("quick"), name="tiny", task_epochs=2, tune_epochs=1, attack_epochs=3, decoder_epochs=2,
    calibration=60, attack_steps=20, inversion_steps=4, asked=8, bootstrap=20,
)  # fmt: skip
EFFORTS["tiny"] = TINY

if __name__ == "__main__":
    from privet.__main__ import main

    main()
