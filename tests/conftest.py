"""What several tests share: where caches and real data are, a small manifest, a small trained run."""

import csv
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image


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
    # The models are tiny: more threads would only wait for one another, for long where the machine is busy.
    os.environ["OMP_NUM_THREADS"] = "1"
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
    return fit(config, tmp_path_factory.mktemp("runs") / "run").run


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command `marnet` in this process: its exit code, stdout and stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        from marnet.cli import main

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
