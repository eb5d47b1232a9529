"""Every attack on every defense, from `privet audit ... --json`: python scripts/attack_table.py FINDINGS.jsonl

A Markdown table for each attribute (accuracy, %) and for rebuilt inputs (PSNR, dB). Bold: the headline, which is the
attack that was chosen on the adversary's own people."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main(file: str) -> None:
    rows = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    rows = [r for r in rows if r["metric"] in ("accuracy", "psnr")]
    defenses = list(dict.fromkeys(r["defense"] for r in rows))
    for goal in dict.fromkeys(r["attribute"] for r in rows):
        own = [r for r in rows if r["attribute"] == goal]
        scale = 1 if own[0]["metric"] == "psnr" else 100
        found: dict[tuple[str, str], dict[str, Any]] = {(r["attack"], r["defense"]): r for r in own}
        print(f"\n| {goal}, {'dB' if scale == 1 else '%'} | " + " | ".join(f"`{d}`" for d in defenses) + " |")
        print("|---" * (len(defenses) + 1) + "|")
        for attack in dict.fromkeys(r["attack"] for r in own):
            cells = []
            for defense in defenses:
                row = found.get((attack, defense))
                text = f"{scale * row['value']['mean']:.1f}" if row else ""
                cells.append(f"**{text}**" if row and row["headline"] else text)
            print(f"| `{attack}` | " + " | ".join(cells) + " |")
        low, high = (scale * own[0]["floor"][end] for end in ("low", "high"))
        floor = f"{scale * own[0]['floor']['mean']:.1f} ({low:.1f}-{high:.1f})"
        print("| *without the payload* | " + " | ".join([floor] * len(defenses)) + " |")


if __name__ == "__main__":
    main(sys.argv[1])
