"""The README's table from the output of `privet audit ... --json`: python scripts/readme_table.py FINDINGS.jsonl"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def percent(e: dict[str, float]) -> str:
    """72.5 (71.3-73.8)"""
    return f"{100 * e['mean']:.1f} ({100 * e['low']:.1f}-{100 * e['high']:.1f})"


def decibel(e: dict[str, float]) -> str:
    """22.7 (22.1-23.3)"""
    return f"{e['mean']:.1f} ({e['low']:.1f}-{e['high']:.1f})"


def main(file: str) -> None:
    rows = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    heads = [r for r in rows if r["headline"] and r["metric"] in ("accuracy", "psnr")]
    goals = list(dict.fromkeys(r["attribute"] for r in heads))
    found: dict[tuple[str, str], dict[str, Any]] = {(r["defense"], r["attribute"]): r for r in heads}
    names = [f"{g} %" if g != "input" else "picture, dB" for g in goals]
    print("| defense | target % | " + " | ".join(names) + " | bytes |")
    print("|---|---|" + "---|" * (len(goals) + 1))
    for defense in dict.fromkeys(r["defense"] for r in heads):
        own = [found[defense, g] for g in goals]
        cells = [(decibel if r["metric"] == "psnr" else percent)(r["value"]) for r in own]
        print(
            f"| `{defense}` | {percent(own[0]['utility'])} | " + " | ".join(cells) + f" | {own[0]['payload_bytes']:,} |"
        )
    floors = [
        (decibel if found[k]["metric"] == "psnr" else percent)(found[k]["floor"])
        for k in [(heads[0]["defense"], g) for g in goals]
    ]
    print("| *without the payload* | | " + " | ".join(floors) + " | |")


if __name__ == "__main__":
    main(sys.argv[1])
