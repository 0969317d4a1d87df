"""What is learned from the images that 'marnet data next' chooses to label or to describe, against random choice.

Some training rows have labels; logistic regression on features learns from them and gives the others probabilities.
100 of the others are labelled, it learns again, and val is scored. For texts, 100 or 300 training rows get one; ridge
regression learns to predict text vectors from features, and the share of val counts whose own text is among the ten
nearest to the predicted one. Each figure is a mean over the seeds.

Run: uv run python benchmarks/next_to_label.py NAME=FOLDER [NAME=FOLDER ...] [--seeds 10]
It prints a table and writes next_to_label.json beside this file.
"""

import argparse
import json
import statistics
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV

from marnet import make_config
from marnet.building import text_vectors
from marnet.data.folds import reduced
from marnet.data.manifest import label_indices
from marnet.semantic.datasets.held_out import held_out_probabilities
from marnet.semantic.datasets.next_to_label import choose_spread, uncertainty
from marnet.training.features import open_features

BUDGET = 100
PER_CLASS = (1, 2, 4)  # labels at the start
TEXTS = (100, 300)  # that are written
NEAREST = 10  # texts that a search looks at
CRITERIA = ("random", "least margin", "marnet data next")


class Learner:
    """Logistic regression on the features of train and val."""

    def __init__(self, folder: Path) -> None:
        found = open_features(folder)
        train, val = (found.manifest.split(name) for name in ("train", "val"))
        self.features = found.splits["train"].numpy()
        vectors = reduced(np.concatenate([found.splits[name].numpy() for name in ("train", "val")]).astype(float))
        self.train, self.val = vectors[: len(train)], vectors[len(train) :]
        self.labels, self.truth = (label_indices(rows, found.manifest.classes) for rows in (train, val))
        self.texts = [record.text for rows in (train, val) for record in rows]
        self.classes = len(found.manifest.classes)

    def probabilities(self, labelled: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the probabilities of the classes `(M, C)` of M training rows, learned from the labelled ones."""
        return self._learn(labelled).predict_proba(self.train[rows])

    def accuracy(self, labelled: np.ndarray) -> float:
        """Return the share of val that is right after learning from the labelled rows."""
        return float((self._learn(labelled).predict(self.val) == self.truth).mean())

    def _learn(self, labelled: np.ndarray) -> LogisticRegression:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The number of unique classes")  # with one label per class
            warnings.simplefilter("ignore", ConvergenceWarning)
            return LogisticRegression(C=10, max_iter=100).fit(self.train[labelled], self.labels[labelled])


def choose(criterion: str, learner: Learner, labelled: np.ndarray, others: np.ndarray, seed: int) -> np.ndarray:
    """Return the rows to label by a criterion."""
    if criterion == "random":
        return np.random.default_rng(1000 + seed).permutation(others)[:BUDGET]
    unsure = uncertainty(learner.probabilities(labelled, others))
    if criterion == "least margin":
        return others[np.argsort(-unsure)[:BUDGET]]
    return others[[each.row for each in choose_spread(learner.features[others], unsure, BUDGET, seed=seed)]]


def measure(folder: Path, per_class: int, seeds: int) -> dict[str, list[float]]:
    """Return the accuracy after labelling, by criterion, for each seed."""
    learner = Learner(folder)
    accuracies: dict[str, list[float]] = {criterion: [] for criterion in CRITERIA}
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        labelled = np.concatenate(
            [random.permutation(np.flatnonzero(learner.labels == each))[:per_class] for each in range(learner.classes)]
        )
        others = np.setdiff1d(np.arange(len(learner.labels)), labelled)
        for criterion in CRITERIA:
            chosen = choose(criterion, learner, labelled, others, seed)
            accuracies[criterion].append(learner.accuracy(np.concatenate([labelled, chosen])))
    return accuracies


def measure_texts(folder: Path, budget: int, seeds: int) -> dict[str, list[float]]:
    """Return the share of val whose own text is found, learned from some texts, by criterion, for each seed."""
    learner = Learner(folder)
    rows = len(learner.train)
    texts = reduced(text_vectors(make_config({}).text, learner.texts).astype(float))
    of_val = texts[rows:] / np.linalg.norm(texts[rows:], axis=1, keepdims=True).clip(1e-12)
    held_out = held_out_probabilities(learner.train, learner.labels, learner.classes, None, 0)

    def found(described: np.ndarray) -> float:
        predicted = RidgeCV(np.logspace(-2, 3, 11)).fit(learner.train[described], texts[described]).predict(learner.val)
        similar = predicted @ of_val.T
        return float(((similar > np.diag(similar)[:, None]).sum(1) < NEAREST).mean())

    in_doubt = found(np.argsort(-uncertainty(held_out))[:budget])
    shares: dict[str, list[float]] = {criterion: [] for criterion in CRITERIA}
    for seed in range(seeds):
        spread = choose_spread(learner.features, np.ones(rows), budget, seed=seed)
        shares["random"].append(found(np.random.default_rng(1000 + seed).permutation(rows)[:budget]))
        shares["least margin"].append(in_doubt)
        shares["marnet data next"].append(found(np.array([each.row for each in spread])))
    return shares


def compare(found: dict[str, list[float]]) -> str:
    """Return the last cells of a line: the means, and the gain over random choice."""
    means = " | ".join(f"{100 * statistics.mean(found[criterion]):.1f}" for criterion in CRITERIA)
    gains = [100 * (ours - theirs) for ours, theirs in zip(found["marnet data next"], found["random"], strict=True)]
    return f"{means} | {statistics.mean(gains):+.1f} ({statistics.stdev(gains) / len(gains) ** 0.5:.1f}) |"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    results: dict[str, dict[str, dict[str, list[float]]]] = {}
    print(f"| data | at the start | {' | '.join(CRITERIA)} | against random (standard error) |")
    print("|---|---" + "|---" * len(CRITERIA) + "|---|")
    for named in arguments.data:
        name, _, folder = named.partition("=")
        for per_class in PER_CLASS:
            found = measure(Path(folder), per_class, arguments.seeds)
            results.setdefault(name, {})[str(per_class)] = found
            start = f"{per_class} label{'s' if per_class > 1 else ''} per class, {BUDGET} more"
            print(f"| {name} | {start} | {compare(found)}", flush=True)
        for budget in TEXTS:
            found = results[name][f"texts-{budget}"] = measure_texts(Path(folder), budget, arguments.seeds)
            print(f"| {name} | no text, {budget} more | {compare(found)}", flush=True)
    target = Path(__file__).with_suffix(".json")
    target.write_text(json.dumps({"budget": BUDGET, "data": results}, indent=1) + "\n", encoding="utf-8")
    print(f"Wrote {target}.")


if __name__ == "__main__":
    main()
