"""Every attack on every defense, from `privet audit ... --json`: python scripts/attack_table.py FINDINGS.jsonl

A Markdown table for each attribute (accuracy, %) and for rebuilt inputs (PSNR, dB), with a line for each attack or,
where there are more defenses than attacks, for each defense. Bold: the headline, which is the attack that was chosen on
the adversary's own people."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def table(goal: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    """The lines of one attribute's table."""
    scale, unit = (1, "dB") if rows[0]["metric"] == "psnr" else (100, "%")
    attacks, defenses = (list(dict.fromkeys(r[of] for r in rows)) for of in ("attack", "defense"))
    cells = {(r["attack"], r["defense"]): f"{scale * r['value']['mean']:.1f}" for r in rows}
    cells |= {(r["attack"], r["defense"]): f"**{cells[r['attack'], r['defense']]}**" for r in rows if r["headline"]}
    if len(defenses) > len(attacks):
        across, down = attacks, [(d, [cells.get((a, d), "") for a in attacks]) for d in defenses]
    else:
        across, down = defenses, [(a, [cells.get((a, d), "") for d in defenses]) for a in attacks]
    mean, low, high = (scale * rows[0]["floor"][end] for end in ("mean", "low", "high"))
    floor = ["*without the payload*", f"{mean:.1f} ({low:.1f}-{high:.1f})", *[""] * (len(across) - 1)]
    told = [[f"{goal}, {unit}", *(f"`{name}`" for name in across)], ["---"] * (len(across) + 1)]
    told += [[f"`{name}`", *values] for name, values in down] + [floor]
    return ["| " + " | ".join(line) + " |" for line in told]


def main(file: str) -> None:
    rows = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    rows = [r for r in rows if r["metric"] in ("accuracy", "psnr")]
    for goal in dict.fromkeys(r["attribute"] for r in rows):
        print("\n".join(["", *table(goal, [r for r in rows if r["attribute"] == goal])]))


if __name__ == "__main__":
    main(sys.argv[1])
