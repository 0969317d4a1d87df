"""Precision of 'marnet data label-errors' on planted errors, with and without the text as a second witness.

Of the training rows 5 % get another class, chosen at random. Where all rows of a class share one text, that text is
given by the label in use, so that it follows the wrong labels, too; where rows have texts of their own, a third ranking
shows what texts do that begin with the name of the label in use. Each figure is a mean over the seeds, on features that
'marnet embed' wrote. Errors that the data had before count as false alarms.

Run: uv run python benchmarks/label_errors.py NAME=FOLDER [NAME=FOLDER ...] [--seeds 10]
It prints a table and writes label_errors.json beside this file.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import NamedTuple

import numpy as np

from marnet import make_config
from marnet.building import text_vectors
from marnet.data.manifest import label_indices
from marnet.semantic.datasets.label_errors import audit_labels
from marnet.training.features import open_features

SHARE, TOP = 0.05, 20


class Figures(NamedTuple):
    """The shares of planted errors among the first rows of one ranking, and cleanlab's estimate of their number."""

    at_20: float
    at_planted: float  # among as many rows as errors were planted
    expected: int


def measure(folder: Path, seeds: int) -> dict[str, object]:
    """Plant errors with each seed, find them by images alone and with the text, and return all figures."""
    found = open_features(folder)
    records = found.manifest.split("train")
    features = found.splits["train"].numpy()
    texts = [record.text for record in records]
    truth = label_indices(records, found.manifest.classes)
    of_class = dict(zip(truth.tolist(), texts, strict=True))
    per_class = len(set(zip(truth.tolist(), texts, strict=True))) == len(of_class)
    section = make_config({}).text
    planted = round(SHARE * len(truth))
    rankings: dict[str, list[Figures]] = {}
    reasons: dict[str, list[str]] = {}
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        wrong = random.permutation(len(truth))[:planted]
        labels = truth.copy()
        labels[wrong] = (truth[wrong] + random.integers(1, len(of_class), planted)) % len(of_class)
        seen = {"images alone": [""] * len(texts), "images and texts": texts}
        if per_class:
            seen["images and texts"] = [of_class[label] for label in labels.tolist()]
        else:
            names = [found.manifest.classes[label] for label in labels]
            seen["texts that name the label"] = [f"{name}. {text}" for name, text in zip(names, texts, strict=True)]
        for ranking, told in seen.items():
            audit = audit_labels(features, labels, text_vectors(section, told), told, seed=seed)
            hits = np.isin(audit.ranked, wrong)
            figures = Figures(float(hits[:TOP].mean()), float(hits[:planted].mean()), audit.expected)
            rankings.setdefault(ranking, []).append(figures)
            if audit.no_text_because:
                reasons.setdefault(ranking, []).append(audit.no_text_because)
    return {
        "rows": len(truth),
        "classes": len(of_class),
        "planted": planted,
        "seeds": list(range(seeds)),
        "text_is_no_witness_because": {ranking: sorted(set(each)) for ranking, each in reasons.items()},
        "rankings": {name: [each._asdict() for each in figures] for name, figures in rankings.items()},
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    results = {}
    print("| data | ranking | precision at 20 (least) | among as many as planted | cleanlab expects, of planted |")
    print("|---|---|---|---|---|")
    for named in arguments.data:
        name, _, folder = named.partition("=")
        result = results[name] = measure(Path(folder), arguments.seeds)
        for ranking, figures in result["rankings"].items():  # type: ignore[attr-defined]
            at_20 = [each["at_20"] for each in figures]
            rest = statistics.mean(each["at_planted"] for each in figures)
            expected = statistics.mean(each["expected"] for each in figures)
            print(
                f"| {name} | {ranking} | {statistics.mean(at_20):.3f} ({min(at_20):.2f}) | {rest:.3f} | "
                f"{expected:.0f} of {result['planted']} |",
                flush=True,
            )
    target = Path(__file__).with_suffix(".json")
    target.write_text(json.dumps({"share": SHARE, "data": results}, indent=1) + "\n", encoding="utf-8")
    print(f"Wrote {target}.")


if __name__ == "__main__":
    main()
