"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DATA = "digits, a Parquet file or folder, a table (DIR/adult), an image folder with labels.csv, a CSV, or hub:NAME"
Data = Annotated[str, typer.Option(help=DATA)]
DataOrNone = Annotated[str | None, typer.Option(help=DATA + " [digits]")]  # where payload files bring their own people
Target = Annotated[str | None, typer.Option(help="column the server is asked for [digits: parity]")]
Hidden = Annotated[list[str], typer.Option(help="column nobody asked for; repeat it, or 'all' [digits: digit]")]
Model = Annotated[
    str,
    typer.Option(
        help="cnn3 (Samragh et al. 2021, Table 1), mlp, vgg, resnet18, vit, gru, package.module:factory, "
        "FILE.py:factory, torchvision:NAME, timm:NAME [pictures: cnn3, tables: mlp]"
    ),
]
At = Annotated[
    str,
    typer.Option(
        help="module path of the cut; `privet cuts` lists the legal ones [cnn3: flatten, its first fully connected "
        "layer]"
    ),
]
Weights = Annotated[Path | None, typer.Option(help="safetensors file to start from")]
Freeze = Annotated[str | None, typer.Option(help="edge, server or both: halves that must not be retrained")]
Resize = Annotated[
    str | None, typer.Option(help="50, 73x60 or none [pictures larger than 50 px: shorter side to 50 px]")
]
EffortName = Annotated[str, typer.Option(help="quick (a smoke test), standard, or full (the papers' epochs)")]
Group = Annotated[str | None, typer.Option(help="column that names the person; a person is never in two parts")]
Limit = Annotated[int | None, typer.Option(help="use at most so many examples a part, for a first try")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
Json = Annotated[bool, typer.Option("--json", help="one JSON object a line on standard output")]
Seeds = Annotated[int, typer.Option(help="independent repetitions of training and attack")]
Jobs = Annotated[int, typer.Option(help="trials at the same time, a process of one thread each [all cores]")]
MaxMinutes = Annotated[float | None, typer.Option(help="stop then, with the best answer so far")]
AnyVersion = Annotated[bool, typer.Option(help="accept runs that another version of privet made")]
OnBad = Annotated[str, typer.Option(help="skip (and count) or stop at pictures that cannot be read")]
Top = Annotated[
    str | None, typer.Option(help="writer=100: only the examples of the 100 most frequent values of an attribute")
]
Dependence = Annotated[
    str | None, typer.Option(help="race=0.2: thin the examples until target and attribute share 0.2 nats")
]
Training = Annotated[
    str | None,
    typer.Option(help="defense that trains the network on, before all others start from it, such as content_training"),
]
