"""The command line: what is printed where, and how mistakes are answered."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from marnet.config import make_config
from marnet.data.manifest import read_manifest
from marnet.data.recorded import read_recorded

Call = Callable[..., tuple[int, str, str]]

FLAGS = ["--backbone", "timm:test_resnet", "--image-size", "32", "--batch-size", "16", "--devices", "cpu"]


def test_train_evaluate_predict(manifest_file: Path, tmp_path: Path, call: Call) -> None:
    run = tmp_path / "run"
    code, out, _ = call(
        "train", "--data", manifest_file, "--method", "marnet", "--epochs", "2", "--lr", "2e-3", "--seed", "4",
        "--set", "losses.matching=0.1", "--set", "training.warmup_epochs=0", *FLAGS, "--out", run,
    )  # fmt: skip
    assert code == 0
    assert "marnet on val" in out
    config = (run / "config.yaml").read_text()
    assert "matching: 0.1" in config
    assert "seed: 4" in config

    code, out, _ = call("evaluate", run, "--split", "val", "--json")
    assert code == 0
    figures = json.loads(out)
    assert set(figures) == {"top1", "top5", "macro_f1", "macro_recall", "nll", "ece", "brier", "aurc", "n"}
    assert 0 <= figures["top1"] <= figures["top5"] <= 1
    recorded = json.loads((run / "metrics.json").read_text())["val"]
    assert figures["top1"] == recorded["top1"]

    images = [record.image for record in read_manifest(manifest_file).split("val")][:2]
    code, out, _ = call("predict", run, *images, "--top", "2", "--json")
    assert code == 0
    rows = json.loads(out)
    assert [row["image"] for row in rows] == images
    assert all(len(row["predictions"]) == 2 for row in rows)
    code, out, _ = call("predict", run, *images, "--top", "2")
    assert out.count("%") == 4


def test_train_from_a_preset(manifest_file: Path, tmp_path: Path, call: Call) -> None:
    run = tmp_path / "run"
    settings = ["--data", manifest_file, "--epochs", "6", "--lr", "5e-3", *FLAGS, "--out", run]
    code, _, _ = call("train", "--preset", "paper", "--set", "losses.semantic=0.7", *settings)
    assert code == 0
    written = yaml.safe_load((run / "config.yaml").read_text())
    assert written == make_config(written, preset="paper").model_dump(mode="json")
    assert (written["fusion"], written["text"]["trainable"]) == ({"kind": "concat"}, True)
    assert (written["losses"]["text"], written["losses"]["visual"], written["losses"]["semantic"]) == (1, 0, 0.7)
    assert (written["reconstruction"]["guide"], written["semantics"]["dimensions"]) == ("features", None)
    assert json.loads((run / "metrics.json").read_text())["val"]["top1"] > 0.5  # three classes: chance is 1 in 3
    code, _, _ = call("evaluate", run)
    assert code == 0

    code, _, err = call("train", "--preset", "papr", "--data", manifest_file, "--out", tmp_path / "x")
    assert (code, err) == (1, "Error: Preset 'papr' is not known. Expected 0.1 or paper. Did you mean 'paper'?\n")


def test_evaluate_takes_other_data(trained_run: Path, manifest_file: Path, tmp_path: Path, call: Call) -> None:
    code, out, _ = call("evaluate", trained_run, "--data", manifest_file, "--split", "train", "--json")
    assert code == 0
    assert json.loads(out)["n"] == len(read_manifest(manifest_file).split("train"))
    code, _, err = call("evaluate", trained_run, "--split", "test")
    assert code == 1
    assert "'test'" in err
    foreign = tmp_path / "foreign.csv"
    image = read_manifest(manifest_file).split("val")[0].image
    foreign.write_text(f"image,text,label,split\n{image},x,durian,val\n{image},x,lychee,val\n")
    code, _, err = call("evaluate", trained_run, "--data", foreign)
    assert code == 1
    assert "has labels that the run does not know: durian, lychee; the run knows 3 classes" in err


def test_predict_reports_a_broken_image_and_goes_on(
    trained_run: Path, manifest_file: Path, tmp_path: Path, call: Call
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_text("not a picture")
    good = read_manifest(manifest_file).split("val")[0].image
    code, out, err = call("predict", trained_run, broken, good, "--json")
    assert code == 1
    assert [row["image"] for row in json.loads(out)] == [good]
    assert f"Image {broken} is not an image" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "--out", "X"], "No data was named. Name a source with --data SOURCE: "),
        (["train", "--data", "nowhere.csv", "--out", "X"], "nowhere.csv"),
        (["train", "--data", "synthetic", "--method", "marnett", "--out", "X"], "Did you mean 'marnet'"),
        (["train", "--data", "synthetic", "--backbone", "timm:resnet18x", "--out", "X"], "'resnet18'"),
        (["train", "--data", "synthetic", "--backbone", "resnet18", "--out", "X"], "Did you mean 'timm:resnet18'"),
        (["train", "--data", "synthetic", "--set", "training.epoch=3", "--out", "X"], "Did you mean 'epochs'"),
        (["train", "--data", "synthetic", "--set", "training", "--out", "X"], "not of the form section.key=value"),
        (["train", "--data", "synthetic", "--epochs", "0", "--out", "X"], "--epochs (training.epochs): found 0"),
        (["train", "--data", "synthetic", "--config", "nowhere.yaml", "--out", "X"], "nowhere.yaml does not exist"),
        (["train", "--resume", "--out", "X"], "Run directory X does not exist"),
        (["evaluate", "X"], "Run directory X does not exist. Name one that 'marnet train' wrote."),
        (["predict", "X", "photo.jpg"], "Run directory X does not exist"),
    ],
)
def test_mistakes_are_answered_without_a_traceback(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    call: Call,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*arguments)
    assert code == 1
    assert out == ""
    assert "Error: " in err
    assert sentence in err
    assert "Traceback" not in err
    assert not (tmp_path / "X").exists()


def test_resume_keeps_the_settings_and_refuses_others(manifest_file: Path, tmp_path: Path, call: Call) -> None:
    run = tmp_path / "run"
    typed = ["--data", manifest_file, "--epochs", "1", *FLAGS, "--out", run]
    assert call("train", *typed)[0] == 0
    written = (run / "config.yaml").read_bytes()
    others = ["--method", "match", "--lr", "0.1", "--set", "training.seed=99", "--set", "losses.matching=0.3"]
    code, out, err = call("train", "--out", run, "--resume", *others)
    assert (code, out) == (1, "")
    assert err == (
        f"Error: {run} cannot be resumed with other settings than those in its config.yaml; nothing was changed:\n"
        f'  --method: the run has "marnet", given "match"\n'
        f"  losses.matching: the run has 0.1, given 0.3\n"
        f"  --lr (training.lr): the run has 0.001, given 0.1\n"
        f"  --seed (training.seed): the run has 0, given 99\n"
        f"Leave them out to resume, or train anew with another --out. When a run is resumed, only --epochs, "
        f"--set training.patience=..., --precision, --devices, --set data.workers=... and --set data.cache=... may "
        f"change.\n"
    )
    code, _, err = call("train", "--out", run, "--resume", "--preset", "paper")
    assert code == 1
    assert '  fusion.kind: the run has "weighted", given "concat"\n' in err
    assert (run / "config.yaml").read_bytes() == written
    code, _, _ = call("train", *typed, "--resume", "--epochs", "2")  # the same words once more, and a longer training
    assert code == 0
    assert "epochs: 2" in (run / "config.yaml").read_text()
    assert len((run / "history.csv").read_text().splitlines()) == 3


def test_the_cache_is_listed_and_emptied(
    manifest_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    from marnet.data.decoded import decode_images
    from marnet.data.manifest import read_manifest

    monkeypatch.setenv("MARNET_CACHE", str(tmp_path))
    images = [record.image for record in read_manifest(manifest_file).records]
    decode_images(images, size=64, cache=tmp_path)
    code, out, _ = call("data", "cache")
    listed, total = out.splitlines()
    assert code == 0
    assert listed.split()[:5] == ["0.7", "MB", "opened", "0.0", "days"]
    assert total == f"1 set of decoded images, 0.7 MB, in {tmp_path / 'images'}."
    code, out, _ = call("data", "cache", "--clear")
    assert out == f"Removed 1 set of decoded images, 0.7 MB, in {tmp_path / 'images'}.\n"
    assert list((tmp_path / "images").iterdir()) == []


def test_json_on_stdout_is_clean_in_a_real_process(trained_run: Path) -> None:
    command = [sys.executable, "-m", "marnet", "evaluate", str(trained_run), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["n"] > 0
    wrong = subprocess.run([*command[:4], "nowhere"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert wrong.stdout == ""
    assert wrong.stderr.startswith("Error: Run directory nowhere does not exist")


def test_the_package_starts_without_loading_torch() -> None:
    code = (
        "import sys, marnet, marnet.cli.app; from typer.main import get_command; get_command(marnet.cli.app.app); "
        "print(sorted({'torch', 'timm', 'lightning', 'sklearn', 'matplotlib', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_prediction_loads_nothing_that_only_training_and_scoring_need(trained_run: Path) -> None:
    image = read_recorded(trained_run).records[0].image
    unneeded = {"torchmetrics", "lightning", "sklearn", "matplotlib", "pandas", "transformers"}
    code = (
        "import sys\nfrom marnet.cli.app import main\n"
        f"sys.argv = ['marnet', 'predict', {str(trained_run)!r}, {image!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print(end.code)\n"
        f"print(sorted({unneeded} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["0", "[]"]


def test_help_shows_the_defaults_that_training_has(monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # no line of the help is broken
    config = make_config({})
    _, text, _ = call("train", "--help")
    lines = {line.split()[1]: line for line in text.splitlines() if line.startswith("│")}
    for option, default in (
        ("--backbone", config.backbone.name),
        ("--method", config.method),
        ("--epochs", config.training.epochs),
        ("--batch-size", config.training.batch_size),
        ("--lr", config.training.lr),
        ("--seed", config.training.seed),
        ("--precision", config.training.precision),
        ("--devices", config.training.devices),
        ("--on-bad-image", config.data.on_bad_image),
    ):
        assert f"[default: ({default})]" in lines[option]
    for command, options in (("compare", 6), ("report", 3), ("embed", 2), ("evaluate", 1), ("demo", 2)):
        _, text, _ = call(command, "--help")
        assert text.count("[default: ") == options, text
