"""Attribute inference side by side: Privet's portfolio, tuned scikit-learn models and the
adversarial-robustness-toolbox, on the same payloads of the same people.

    python benchmarks/attributes.py [DATA TARGET HIDDEN [LIMIT [DEFENSE ...]]]    # without arguments: embedded digits

Everybody learns on aux_train and is scored once on the victims. Privet and scikit-learn choose their model on aux_val;
the toolbox has nothing to choose by, so all of its attack models are run and the best one on the victims speaks for it,
which favors it. The toolbox is left out where it is not installed (`pip install adversarial-robustness-toolbox six`);
its gradient boosting is left out above 500 columns, where it takes hours. Five networks where there are fewer than a
thousand victims, else one; of a random defense the others see the first draw, ours sees more. One JSON line for each
model and, with `what` = compared, ours minus the best of theirs, paired over the victims of all networks."""

from __future__ import annotations

import itertools
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from privet import trained
from privet.auditing import audit, wire
from privet.auditing.estimate import estimate, paired, weights
from privet.auditing.threat import Threat, portfolio
from privet.data.corpus import Corpus
from privet.defense import parse
from privet.schedule import Source, with_defaults
from privet.setting import Setting
from privet.train import Effort

Rows = npt.NDArray[Any]
WIDE = 500  # columns
COMPONENTS = 128
EFFORT = "standard"
FEW, NETWORKS = 1000, 5  # victims below which one network says too little


@dataclass(frozen=True)
class Task:
    """Payloads and labels of those who learn, those who are chosen on, and the victims; answers are what a server that
    is asked for the target says of them."""

    x: tuple[Rows, Rows, Rows]
    s: tuple[Rows, Rows, Rows]
    answers: tuple[Rows, Rows]
    groups: Rows


def models() -> dict[str, tuple[Any, dict[str, list[Any]]]]:
    """scikit-learn's models with the grids that are usual for them."""
    return {
        "logistic": (LogisticRegression(max_iter=1000), {"C": [1e-3, 1e-2, 1e-1, 1.0]}),
        "svm": (SVC(), {"C": [1.0, 10.0], "gamma": ["scale", 0.002, 0.0005]}),
        "boosting": (HistGradientBoostingClassifier(random_state=0), {"learning_rate": [0.05, 0.1]}),
        "forest": (RandomForestClassifier(300, random_state=0), {"max_features": ["sqrt", 0.1]}),
        "extra_trees": (ExtraTreesClassifier(300, random_state=0), {"max_features": ["sqrt", 0.1]}),
        "neighbors": (KNeighborsClassifier(), {"n_neighbors": [5, 15, 45]}),
        "discriminant": (LinearDiscriminantAnalysis(solver="lsqr"), {"shrinkage": ["auto", 0.5]}),
        "mlp": (
            MLPClassifier((256, 128), early_stopping=True, random_state=0), {"alpha": [1e-4, 1e-2, 1.0]}
        ),
    }  # fmt: skip


def tuned(task: Task) -> Iterator[tuple[str, float, Rows, float]]:
    """(name, accuracy on aux_val, who was named rightly among the victims, seconds) of each model, tuned on aux_val;
    on standardized columns and, where there are many, on their principal components as well (gradient boosting above
    500 columns on these alone)."""
    for name, (model, grid) in models().items():
        started, best = time.perf_counter(), None
        columns = task.x[0].shape[1]
        reduced = (False, True) if columns > COMPONENTS else (False,)
        reduced = (True,) if name == "boosting" and columns > WIDE else reduced
        for values in itertools.product(*grid.values()):
            for reduce in reduced:
                steps = [("scale", StandardScaler())]
                steps += [("pca", PCA(COMPONENTS, svd_solver="randomized", random_state=0))] if reduce else []
                candidate = clone(model).set_params(**dict(zip(grid, values, strict=True)))
                fitted = Pipeline([*steps, ("model", candidate)]).fit(task.x[0], task.s[0])
                held = float(fitted.score(task.x[1], task.s[1]))
                if best is None or held > best[0]:
                    best = held, fitted
        assert best is not None
        right = best[1].predict(task.x[2]) == task.s[2]
        yield f"scikit-learn {name}", best[0], right, time.perf_counter() - started


def toolbox(task: Task) -> Iterator[tuple[str, float, Rows, float]]:
    """The attack models of AttributeInferenceBlackBox, as they come, on the attribute beside the payload."""
    try:
        from art.attacks.inference.attribute_inference import AttributeInferenceBlackBox
        from art.estimators.classification import BlackBoxClassifierNeuralNetwork
    except ImportError:
        return
    values = np.unique(task.s[0]).astype(np.float32)
    classes = max(2, int(max(task.answers[0].max(), task.answers[1].max())) + 1)
    everybody = np.concatenate([task.x[0], task.x[2]])
    known = dict(zip((row.tobytes() for row in everybody), np.concatenate(task.answers), strict=True))

    def answer(rows: Rows) -> Rows:
        """The server's own answer, one-hot; the first column is the attribute, which no server sees."""
        return np.eye(classes, dtype=np.float32)[[known[np.ascontiguousarray(r[1:]).tobytes()] for r in rows]]

    server = BlackBoxClassifierNeuralNetwork(answer, (task.x[0].shape[1] + 1,), classes)
    kinds = ["nn", "rf", "lr", "knn", "svm", "dt"] + (["gb"] if task.x[0].shape[1] <= WIDE else [])
    for kind in kinds:
        started = time.perf_counter()
        attack = AttributeInferenceBlackBox(server, attack_model_type=kind, attack_feature=0)
        attack.fit(np.concatenate([task.s[0][:, None].astype(np.float32), task.x[0]], 1))
        said = attack.infer(task.x[2], pred=task.answers[1][:, None], values=list(values))
        yield f"toolbox {kind}", float("nan"), np.ravel(said).astype(int) == task.s[2], time.perf_counter() - started


def ours(
    observed: wire.Observed, corpus: Corpus, threat: Threat, hidden: str, seed: int
) -> tuple[str, float, Rows, float, dict[str, float]]:
    """The headline: the attack that is best on aux_val."""
    attacks, _ = portfolio(threat, (), EFFORT)
    attacks = {name: attack for name, attack in attacks.items() if attack.goal == "attribute"}
    started = time.perf_counter()
    evidence = audit.attack(observed, corpus, threat, attacks, effort=Effort.named(EFFORT), seed=seed)
    scores = {name: s["accuracy"] for name, s in evidence.selection[hidden].items()}
    best = max(sorted(scores), key=lambda name: scores[name])
    s = corpus.victim.s[hidden]
    right = evidence.arrays[f"posterior/{hidden}/{best}"][s >= 0].argmax(1) == s[s >= 0]
    return f"privet {best}", scores[best], right, time.perf_counter() - started, scores


def task_of(observed: wire.Observed, corpus: Corpus, hidden: str) -> Task:
    """The same people as numbers."""
    views = {"aux_train": observed.train[0], "aux_val": observed.val, "victim": observed.victims}
    x, s, answers = [], [], []
    for role, view in views.items():
        labels = corpus.parts[role].s[hidden]
        x.append(np.ascontiguousarray(view.flat.numpy()[labels >= 0], dtype=np.float32))
        s.append(labels[labels >= 0])
        answers.append(observed.answers[role][labels >= 0])
    labelled = corpus.victim.s[hidden] >= 0
    return Task(tuple(x), tuple(s), (answers[0], answers[2]), corpus.victim.groups[labelled])  # type: ignore[arg-type]


def compare(
    corpus: Corpus, hidden: str, defense: str, seed: int, say: Callable[[dict[str, Any]], None]
) -> dict[str, tuple[Rows, Rows]]:
    """One network with its defense: everybody's figures, and (ours, the best of theirs) over draws of the victims, by
    family."""
    setting = Setting("cnn3" if corpus.kind == "image" else "mlp", "", effort=EFFORT)
    setting = with_defaults(setting, corpus)
    threat = Threat.named("server")
    model = trained.task_model(setting, corpus, seed, None)
    defended = parse(defense).fit(trained.cut(model, setting, corpus), corpus, effort=Effort.named(EFFORT), seed=seed)
    observed = wire.observe(defended, corpus, threat, seed)
    task = task_of(observed, corpus, hidden)
    common = {"defense": defense, "hidden": hidden, "seed": seed, "columns": task.x[0].shape[1]}
    drawn = weights(task.groups, 400, seed=0)

    def table(right: Rows) -> Rows:
        return np.asarray(drawn @ right.astype(np.float64) / drawn.sum(1))

    def tell(name: str, held: float, right: Rows, seconds: float, **more: Any) -> None:
        aux = None if np.isnan(held) else round(held, 4)
        found = {"aux_val": aux, "accuracy": round(float(right.mean()), 4)}
        say({"what": name} | common | found | {"seconds": round(seconds, 1)} | more)

    name, held, mine, seconds, scores = ours(observed, corpus, threat, hidden, seed)
    tell(name, held, mine, seconds, all={k: round(v, 4) for k, v in scores.items()})
    theirs: dict[str, list[tuple[float, str, Rows]]] = {"scikit-learn": [], "toolbox": []}
    for other, held, right, seconds in itertools.chain(tuned(task), toolbox(task)):
        tell(other, held, right, seconds)
        family = other.split()[0]
        theirs[family].append((float(right.mean()) if family == "toolbox" else held, other, right))
    best = {family: max(found, key=lambda f: f[0])[2] for family, found in theirs.items() if found}
    return {family: (table(mine), table(right)) for family, right in best.items()}


def main(data: str = "digits", target: str = "", hidden: str = "digit", limit: str = "", *defenses: str) -> None:
    """JSON lines on standard output."""
    warnings.simplefilter("ignore")
    corpus = Source(data, target or None, (hidden,), limit=int(limit) if limit else None).load()
    labelled = corpus.victim.s[hidden] >= 0
    victims, people = int(labelled.sum()), len(np.unique(corpus.victim.groups[labelled]))

    def say(told: dict[str, Any]) -> None:
        print(json.dumps(told), flush=True)

    for defense in defenses or ("none", "signal_content:keep=4"):
        found = [compare(corpus, hidden, defense, seed, say) for seed in range(NETWORKS if victims < FEW else 1)]
        for family in found[0]:
            mine, theirs = zip(*(one[family] for one in found), strict=True)
            gain = paired(mine, theirs, victims, (-1.0, 1.0), people)
            shared = {"defense": defense, "hidden": hidden, "victims": victims, "networks": len(found)}
            accuracy = {name: estimate(t, victims, (0.0, 1.0), people).json() for name, t in
                        (("ours", mine), ("theirs", theirs))}  # fmt: skip
            say({"what": "compared", "with": family} | shared | accuracy | {"gain": gain.json()})


if __name__ == "__main__":
    main(*sys.argv[1:])
