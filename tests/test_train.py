"""Training: a function of its seed, with what is frozen frozen and the best epoch kept."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from privet.data.corpus import Corpus
from privet.defenses.gaussian import GaussianObfuscator
from privet.errors import DataError, SpecError
from privet.train import EFFORTS, Effort, accuracy, batches, fine_tune_server, fit_task, inputs, labelled, predict
from studies import SMALL, halves, people

EFFORT = replace(SMALL, task_epochs=6, tune_epochs=3, batch=16)


def network(seed: int = 0) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    layers = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) - 0.4)
    return layers


def equal(a: nn.Module, b: nn.Module) -> bool:
    mine, yours = a.state_dict(), b.state_dict()
    return all(torch.equal(mine[k], yours[k]) for k in mine)


def test_efforts() -> None:
    assert {"quick", "standard", "full"} <= set(EFFORTS)
    with pytest.raises(SpecError, match="did you mean 'standard'"):
        Effort.named("standart")
    quick = Effort.named("quick")
    assert quick.attack_schedule("attribute", 10_000) == (quick.attack_epochs, quick.patience)
    epochs, patience = quick.attack_schedule("attribute", 128)
    assert epochs * (128 // quick.batch) >= quick.attack_steps
    assert patience == epochs // 6
    assert quick.attack_schedule("reconstruct", 10_000)[0] == quick.decoder_epochs


def test_batches() -> None:
    generator = np.random.default_rng(0)
    assert sorted(np.concatenate(list(batches(10, 4, generator)))) == list(range(10))
    assert [len(b) for b in batches(9, 4, generator)] == [4, 4]  # a batch of one would break batch normalization
    assert [len(b) for b in batches(1, 4, generator)] == [1]


def test_inputs() -> None:
    pixels = np.array([[[[0, 255]]]], dtype=np.uint8)
    assert inputs(pixels).tolist() == [[[[0.0, 1.0]]]]
    assert inputs(np.array([[0.5]], dtype=np.float32)).dtype == torch.float32


def test_predict_is_in_eval_mode_and_does_not_depend_on_the_batch() -> None:
    model, x = network().train(), people().victim.x
    assert torch.allclose(predict(model, x, batch=7), predict(model, x, batch=1000))
    assert not model.training


def test_the_task_is_learned_and_the_best_epoch_kept() -> None:
    corpus, model = people(task_train=400, task_val=100), network()
    log = fit_task(model, corpus, effort=EFFORT, seed=0)
    assert len(log["task_val_accuracy"]) == 6
    assert max(log["task_val_accuracy"]) > 0.8
    assert accuracy(model, corpus.task_val) == max(log["task_val_accuracy"])
    assert not model.training


def test_the_seed_alone_decides() -> None:
    found = []
    for poison in (1, 2):
        torch.manual_seed(poison)
        np.random.seed(poison)
        model = network()
        fit_task(model, people(), effort=EFFORT, seed=5)
        assert torch.initial_seed() == poison
        found.append(model)
    assert equal(*found)
    other = network()
    fit_task(other, people(), effort=EFFORT, seed=6)
    assert not equal(other, found[0])


def test_what_is_frozen_stays() -> None:
    model, before = network(), network()
    names = frozenset({"0.weight", "0.bias", "1.weight", "1.bias"})
    fit_task(model, people(), effort=EFFORT, seed=0, frozen=names, still=frozenset({"0", "1", "2"}))
    assert equal(model[:3], before[:3])  # the running means of batch normalization, too
    assert not equal(model[4], before[4])
    everything = frozenset(name for name, _ in model.named_parameters())
    before = copy.deepcopy(model)
    assert fit_task(model, people(), effort=EFFORT, seed=0, frozen=everything)["trained"] is False
    assert equal(model, before)


def test_missing_labels_are_left_out() -> None:
    corpus = people()
    corpus.task_train.y[2:] = -1
    corpus.task_val.y[:] = -1
    log = fit_task(network(), corpus, effort=EFFORT, seed=0)
    assert log["task_val_accuracy"] == [0.0] * 6
    corpus.task_train.y[:] = -1
    with pytest.raises(DataError, match="has 0 labelled examples of 'y'"):
        fit_task(network(), corpus, effort=EFFORT, seed=0)
    assert labelled(corpus.victim, corpus.victim.y).tolist() == list(range(len(corpus.victim)))


def tuned(
    corpus: Corpus, frozen: frozenset[str] = frozenset(), tracer: str = "explicit", seed: int = 0
) -> tuple[nn.Module, dict[str, object]]:
    split = replace(halves(corpus), frozen=frozen, tracer=tracer)
    log = fine_tune_server(split, GaussianObfuscator(corpus.shape, 0.2), corpus, effort=EFFORT, seed=seed)
    return split.server, log


def test_the_server_learns_behind_the_noise() -> None:
    corpus = people(task_train=400, task_val=100)
    server, log = tuned(corpus)
    assert log["server_tuned"] is True
    assert not equal(server, halves(corpus).server)
    torch.manual_seed(99)
    assert equal(tuned(corpus)[0], server)
    assert not equal(tuned(corpus, seed=1)[0], server)


@pytest.mark.parametrize(
    ("more", "why"),
    [({"frozen": frozenset({"server"})}, "frozen"), ({"tracer": "export"}, "torch.export")],
)
def test_a_server_that_cannot_learn_is_left_alone(more: dict[str, object], why: str) -> None:
    corpus = people()
    server, log = tuned(corpus, **more)  # type: ignore[arg-type]
    assert log["server_tuned"] is False
    assert why in str(log["why"])
    assert equal(server, halves(corpus).server)


def test_the_untouched_server_is_a_candidate() -> None:
    """Where tuning makes it worse, nothing changes."""
    corpus = people()
    corpus.task_train.y[:] = 1 - corpus.task_train.y  # everything learned is wrong on task_val
    split = halves(corpus)
    with torch.no_grad():
        split.server[2].weight.zero_()
        split.server[2].bias.zero_()
        split.server[0].weight.zero_()
        split.server[0].weight[:, 0] = 1.0
        split.server[0].bias.fill_(-0.45)
        split.server[2].weight[1] = 1.0
        split.server[2].bias[0] = 0.3
    before = copy.deepcopy(split.server)
    assert accuracy(split.server, corpus.task_val) > 0.8
    log = fine_tune_server(split, GaussianObfuscator(corpus.shape, 1e-3), corpus, effort=EFFORT, seed=0)
    assert log["server_tuned"] is True
    assert equal(split.server, before)
