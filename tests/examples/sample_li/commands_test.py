"""sample_li's four commands, on drawn digits and on IDX files, as in the README."""

import gzip
import json
import re
import struct

import numpy
import pytest
from safetensors.numpy import load_file
from support import ROOT, Program

PROGRAM = Program("sample_li")
CONFIG = ROOT / "configs/sample_li.yaml"


def run(root, command, *arguments):
    return PROGRAM(command, "--trainer.default_root_dir", root, "--trainer.accelerator", "cpu",
                   *arguments).stderr


def value(text, name):
    found = re.search(rf"^{name} +(\d+\.?\d*(?:e-?\d+)?)$", text, re.M)
    assert found, f"no {name} in:\n{text}"
    return float(found[1])


def newest_run(root):
    return max((root / "lightning_logs").iterdir(), key=lambda path: int(path.name.split("_")[1]))


def check_files(run_dir):
    """Every command's run folder says what was run and where."""
    assert "default_root_dir" in (run_dir / "config.yaml").read_text(), run_dir
    assert json.loads((run_dir / "environment.json").read_text())["torch_version"], run_dir


def write_idx(folder, part, count):
    random = numpy.random.default_rng(count)
    images = random.integers(0, 256, (count, 28, 28), dtype=numpy.uint8)
    labels = random.integers(0, 10, count, dtype=numpy.uint8)
    header = struct.pack(">IIII", 0x803, count, 28, 28)
    (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz", "wb") as file:
        file.write(struct.pack(">II", 0x801, count) + labels.tobytes())


def check_predictions(root, text, count):
    path = newest_run(root) / "predictions.safetensors"
    assert str(path) in text, text
    codes = load_file(path)["code"]
    assert codes.shape == (count, 3) and numpy.isfinite(codes).all() and codes.std() > 0, codes
    check_files(newest_run(root))


@pytest.fixture(scope="module")
def drawn(work):
    """The folder of a training on digits that the program draws."""
    text = run(work, "fit", "--config", CONFIG, "--trainer.limit_train_batches", 40)
    # What the config's 16 comes to on the CPU.
    assert re.search(r"^precision +bf16-mixed$", text, re.M), text
    assert "digits drawn" in text, text
    return work


@pytest.mark.parametrize("which", ["best", "last"])
def test_drawn_digits(which, drawn):
    validated = value(run(drawn, "validate", "--ckpt_path", which), "val_loss")
    check_files(newest_run(drawn))
    tested = value(run(drawn, "test", "--ckpt_path", which), "test_loss")
    check_files(newest_run(drawn))
    # Other images of the same kind.
    assert validated != tested and abs(validated - tested) < 0.2 * validated, (validated, tested)
    check_predictions(drawn, run(drawn, "predict", "--ckpt_path", which), 12000)


@pytest.mark.parametrize(("parts", "expected"), [
    ({"train": 100, "t10k": 30}, 30), ({"t10k": 50}, 5), ({"train": 100}, 10)])
def test_idx_files(parts, expected, tmp_path):
    """Which images are tested on: the t10k ones, unless they are all there is."""
    data = tmp_path / "data"
    data.mkdir()
    for part, count in parts.items():
        write_idx(data, part, count)
    arguments = ("--data.data_dir", data)
    run(tmp_path, "fit", "--trainer.max_steps", 2, *arguments)
    value(run(tmp_path, "test", "--ckpt_path", "last", *arguments), "test_loss")
    check_predictions(tmp_path, run(tmp_path, "predict", "--ckpt_path", "last", *arguments),
                      expected)
