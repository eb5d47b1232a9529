"""Training shared by everything that learns: efforts, batches, the task, the server's fine-tuning.

Networks return logits; cross-entropy is the only place where a softmax happens.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional as F

from privet.data.corpus import Corpus, Part
from privet.errors import DataError, SpecError, unknown
from privet.payload import Noise
from privet.split import Split

Progress = Callable[[int, int], None] | None


@dataclass(frozen=True)
class Effort:
    """How much compute to spend; never part of a method. Epochs are upper limits, adversaries stop early.

    On few examples an epoch is a handful of steps, so adversaries get at least `attack_steps` optimizer steps.
    """

    name: str
    task_epochs: int
    tune_epochs: int
    attack_epochs: int
    decoder_epochs: int
    grid: int
    patience: int
    calibration: int
    attack_steps: int
    inversion_steps: int
    asked: int  # people whom an attack is asked about that is costly for each of them
    bootstrap: int = 400
    batch: int = 64

    def attack_schedule(self, goal: str, examples: int) -> tuple[int, int]:
        """Epochs and patience of an adversary that learns from so many examples."""
        least = self.decoder_epochs if goal == "reconstruct" else self.attack_epochs
        epochs = max(least, -(-self.attack_steps // max(1, examples // self.batch)))
        return epochs, max(self.patience, epochs // 6)

    @classmethod
    def named(cls, name: str) -> Effort:
        """`quick` (a smoke test), `standard` (reported numbers) or `full` (the papers' epochs)."""
        if name not in EFFORTS:
            raise SpecError(unknown("effort", name, EFFORTS))
        return EFFORTS[name]


EFFORTS = {
    effort.name: effort
    for effort in (
        Effort("quick", 12, 6, 20, 10, 1, 4, 600, 500, 150, 16, bootstrap=200),
        Effort("standard", 15, 8, 40, 15, 2, 6, 1500, 1000, 300, 32),
        Effort("full", 50, 20, 100, 100, 3, 15, 4000, 5000, 2000, 256, bootstrap=1000),
    )
}


class NoisyMap(Protocol):
    """z [B, *shape] and declared noise -> z' [B, *shape], as an obfuscator does."""

    noise: tuple[Noise, ...]

    def __call__(self, z: Tensor, *noise: Tensor) -> Tensor: ...


def inputs(x: np.ndarray[Any, Any], device: torch.device | str = "cpu") -> Tensor:
    """Stored examples as the network's input: uint8 pictures become float32 in [0, 1]."""
    tensor = torch.from_numpy(np.ascontiguousarray(x)).to(device)
    return tensor.float().div_(255) if tensor.dtype == torch.uint8 else tensor


def labelled(part: Part, labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Indices of the rows that carry this label."""
    return cast("np.ndarray[Any, Any]", np.flatnonzero(labels >= 0))


def some(rows: np.ndarray[Any, Any], limit: int | None, seed: int) -> np.ndarray[Any, Any]:
    """At most `limit` of these rows, drawn at random and in their old order: files are often sorted by class."""
    if limit is None or len(rows) <= limit:
        return rows
    return cast("np.ndarray[Any, Any]", np.sort(np.random.default_rng([seed, 6]).choice(rows, limit, replace=False)))


def batches(n: int, size: int, generator: np.random.Generator) -> Iterator[np.ndarray[Any, Any]]:
    """Shuffled index batches; a last batch of one is left out, because batch normalization cannot take it."""
    order = generator.permutation(n)
    for start in range(0, n, size):
        index = order[start : start + size]
        if len(index) > 1 or n == 1:
            yield index


@contextmanager
def channels_last(*networks: nn.Module) -> Iterator[None]:
    """Keep the convolutions' weights with the channels last while networks learn: on a CPU max-pooling then takes a
    tenth of the time. They are put back behind, because the layout decides about the last bit of a convolution, and
    what ships must not depend on how it was trained."""
    try:
        for network in networks:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        yield
    finally:
        for network in networks:
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


@torch.no_grad()
def predict(
    model: Callable[[Tensor], Tensor],
    x: np.ndarray[Any, Any] | Tensor,
    device: torch.device | str | None = None,
    batch: int = 256,
) -> Tensor:
    """Outputs of a model in eval mode over stored examples or tensors, on the CPU; it computes where its parameters
    are."""
    if isinstance(model, nn.Module):
        model.eval()
        device = device or next((p.device for p in model.parameters()), None)
    device = device or "cpu"
    outputs = []
    for start in range(0, len(x), batch):
        rows = x[start : start + batch]
        outputs.append(model(rows.to(device) if isinstance(rows, Tensor) else inputs(rows, device)).float().cpu())
    return torch.cat(outputs)


def fit_task(
    model: nn.Module,
    corpus: Corpus,
    *,
    effort: Effort,
    seed: int,
    frozen: frozenset[str] = frozenset(),
    still: frozenset[str] = frozenset(),
    device: torch.device | str = "cpu",
    progress: Progress = None,
) -> dict[str, Any]:
    """Train a whole task network in place on task_train, keeping the epoch with the best task_val accuracy.

    Adam 1e-3, divided by ten after 40 % and 80 % of the epochs (Samragh et al. 2021, 5.1, scaled to the effort).
    `frozen` names parameters that stay, `still` modules that stay in eval mode.
    Returns the log: one accuracy on task_val per epoch. Raises DataError where task_train carries no labels.
    """
    train, val = corpus.task_train, corpus.task_val
    index = labelled(train, train.y)
    if len(index) < 2:
        raise DataError(
            f"the part task_train has {len(index)} labelled examples of {corpus.target!r}; training needs at least 2"
        )
    moving = [p for name, p in model.named_parameters() if name not in frozen]
    model.to(device)
    history: list[float] = []
    if not moving:
        return {"task_val_accuracy": history, "trained": False}
    optimizer = torch.optim.Adam(moving, lr=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, [max(1, round(effort.task_epochs * p)) for p in (0.4, 0.8)]
    )
    generator = np.random.default_rng([seed, 1])
    best, best_state = -1.0, copy.deepcopy(model.state_dict())
    with torch.random.fork_rng(devices=[]), channels_last(model):
        torch.manual_seed(seed)
        for epoch in range(effort.task_epochs):
            _train_mode(model, still)
            for rows in batches(len(index), effort.batch, generator):
                picked = index[rows]
                loss = F.cross_entropy(
                    model(inputs(train.x[picked], device)), torch.from_numpy(train.y[picked]).to(device)
                )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            schedule.step()
            history.append(accuracy(model, val, device))
            if history[-1] >= best:
                best, best_state = history[-1], copy.deepcopy(model.state_dict())
            if progress:
                progress(epoch + 1, effort.task_epochs)
    model.load_state_dict(best_state)
    model.eval()
    return {"task_val_accuracy": history, "trained": True}


def accuracy(model: nn.Module, part: Part, device: torch.device | str = "cpu") -> float:
    """Share of the labelled examples of a part that the model gets right (0 where none is labelled)."""
    index = labelled(part, part.y)
    if not len(index):
        return 0.0
    return float((predict(model, part.x[index], device).argmax(1).numpy() == part.y[index]).mean())


def fine_tune_server(
    split: Split,
    obfuscate: NoisyMap,
    corpus: Corpus,
    *,
    effort: Effort,
    seed: int,
    progress: Progress = None,
) -> dict[str, Any]:
    """Teach the server half, in place, to work behind an obfuscator; the edge half stays as it is.

    Representations of task_train are computed once (in every epoch where the edge itself draws noise, as in a chain),
    noise is drawn afresh in every epoch. The epoch with the best accuracy on
    obfuscated task_val is kept, the untouched server among the candidates. A frozen or mode-baked server is left alone.
    """
    if "server" in split.frozen or split.tracer == "export":
        return {
            "server_tuned": False,
            "why": "the server half is frozen"
            if "server" in split.frozen
            else "the server half was traced by torch.export",
        }
    device = next(split.server.parameters(), torch.zeros(0)).device
    if isinstance(obfuscate, nn.Module):
        obfuscate.to(device)
    train, val = corpus.task_train, corpus.task_val
    rows, val_rows = labelled(train, train.y), labelled(val, val.y)
    z, y = predict(split.edge, train.x[rows], device), torch.from_numpy(train.y[rows])
    z_val, y_val = predict(split.edge, val.x[val_rows], device), torch.from_numpy(val.y[val_rows])
    generator = np.random.default_rng([seed, 2])

    def emitted(part: Tensor) -> Tensor:
        noise = (torch.from_numpy(n.draw(len(part), generator)).to(device) for n in obfuscate.noise)
        with torch.no_grad():
            return obfuscate(part.to(device), *noise)

    def score() -> float:
        right = [
            (split.server(emitted(z_val[i : i + 256])).argmax(1).cpu() == y_val[i : i + 256]).sum()
            for i in range(0, len(z_val), 256)
        ]
        return float(sum(int(r) for r in right)) / max(1, len(z_val))

    optimizer = torch.optim.Adam(split.server.parameters(), lr=5e-4, fused=True)
    split.server.eval()
    best, best_state, history = score(), copy.deepcopy(split.server.state_dict()), []
    with torch.random.fork_rng(devices=[]), channels_last(split.server):
        torch.manual_seed(seed)
        for epoch in range(effort.tune_epochs):
            if epoch and getattr(split.edge, "emits_noise", False):
                z, z_val = predict(split.edge, train.x[rows], device), predict(split.edge, val.x[val_rows], device)
            split.server.train()
            for index in batches(len(z), effort.batch, generator):
                loss = F.cross_entropy(split.server(emitted(z[index])), y[index].to(device))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            split.server.eval()
            with torch.no_grad():
                history.append(score())
            if history[-1] > best:
                best, best_state = history[-1], copy.deepcopy(split.server.state_dict())
            if progress:
                progress(epoch + 1, effort.tune_epochs)
    split.server.load_state_dict(best_state)
    split.server.eval()
    return {"server_tuned": True, "task_val_accuracy": history}


def _train_mode(model: nn.Module, still: frozenset[str]) -> None:
    model.train()
    for name, module in model.named_modules():
        if name in still:
            module.eval()


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch, BLAS and OpenMP: results do not depend on the number of cores, and trials share them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
