"""An ONNX file predicts where nothing but onnxruntime, numpy and Pillow is installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import marnet
from marnet.data.image_transform import ImageTransform
from marnet.data.transforms import normalise as torch_normalise
from marnet.inference.exported.predictor import model_pixels, normalise

pytest.importorskip("onnxruntime")
SCRIPT = """
import json, sys, time

class Absent:  # every package but those of the extra `runtime`, and what these need
    allowed = {"marnet", "onnxruntime", "numpy", "PIL", "flatbuffers", "packaging", "google", "defusedxml", "psutil"}
    def find_spec(self, name, path=None, target=None):
        first = name.partition(".")[0]
        if first not in self.allowed and first not in sys.stdlib_module_names:
            raise ImportError(f"{first} is not installed")

sys.meta_path.insert(0, Absent())
begin = time.perf_counter()
import marnet
taken = time.perf_counter() - begin
found = marnet.load(sys.argv[1])
predictions = found.predict(sys.argv[2:], top=1, abstain=None)
print(json.dumps({
    "import": taken,
    "labels": [each.labels[0] for each in predictions],
    "probabilities": found.predict_proba(sys.argv[2:]).tolist(),
    "x_cdr": found.encode(sys.argv[2], kind="x_cdr").tolist(),
    "torch": "torch" in sys.modules,
}))
"""


def test_in_an_environment_without_torch(trained_run: Path, tmp_path: Path) -> None:
    run = marnet.Predictor(trained_run, device="cpu")
    images = [record.image for record in run.manifest().records[:7]]
    file = marnet.export_run(trained_run, tmp_path / "run.onnx").path
    environment = os.environ | {"PYTHONPATH": str(Path(marnet.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, file, *images], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found["torch"]
    assert found["import"] < 0.5
    assert found["labels"] == [each.labels[0] for each in run.predict(images, top=1)]
    np.testing.assert_allclose(found["probabilities"], run.predict_proba(images), atol=1e-5)
    np.testing.assert_allclose(found["x_cdr"], run.encode(images[0], kind="x_cdr"), atol=1e-4)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [32, 49, 224])
def test_pixels_and_input_are_those_of_the_run_to_the_bit(size: int, interpolation: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(size)
    spec = marnet.ImageSpec(size, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), interpolation)
    transform = ImageTransform(spec)
    for number, shape in enumerate([(300, 451, 3), (37, 90, 3), (256, 256, 3), (700, 640, 4), (1200, 1900), (5, 3, 3)]):
        path = tmp_path / f"{number}.{'png' if number % 2 else 'jpg'}"
        Image.fromarray(generator.integers(0, 256, shape, np.uint8)).convert("RGB").save(path)
        for image in (path, path.read_bytes(), generator.integers(0, 256, shape, np.uint8)):
            ours, theirs = model_pixels(image, spec, max_pixels=10**8), transform.pixels(image)
            np.testing.assert_array_equal(ours, theirs.numpy())
            np.testing.assert_array_equal(normalise(ours[None], spec), torch_normalise(theirs[None], spec).numpy())
