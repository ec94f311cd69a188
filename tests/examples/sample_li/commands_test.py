"""sample_li's four commands, on drawn digits and on IDX files, as in the README."""

import gzip
import json
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

import numpy
import support

PROGRAM = support.bin_dir() / "sample_li"
CONFIG = support.ROOT / "configs/sample_li.yaml"


def run(root, command, *arguments):
    result = subprocess.run(
        [PROGRAM, command, "--trainer.default_root_dir", root, "--trainer.accelerator", "cpu",
         *map(str, arguments)], capture_output=True, text=True, timeout=120)
    if result.returncode != 0:
        sys.exit(f"{command} gave {result.returncode}:\n{result.stderr[-3000:]}")
    return result.stderr


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


def check_drawn(root):
    text = run(root, "fit", "--config", CONFIG, "--trainer.limit_train_batches", 40)
    # What the config's 16 comes to on the CPU.
    assert re.search(r"^precision +bf16-mixed$", text, re.M), text
    assert "digits drawn" in text, text
    for which in ("best", "last"):
        validated = value(run(root, "validate", "--ckpt_path", which), "val_loss")
        check_files(newest_run(root))
        tested = value(run(root, "test", "--ckpt_path", which), "test_loss")
        check_files(newest_run(root))
        # Other images of the same kind.
        assert validated != tested and abs(validated - tested) < 0.2 * validated, (validated, tested)
        text = run(root, "predict", "--ckpt_path", which)
        check_predictions(root, text, 12000)


def check_predictions(root, text, count):
    from safetensors.numpy import load_file
    path = newest_run(root) / "predictions.safetensors"
    assert str(path) in text, text
    codes = load_file(path)["code"]
    assert codes.shape == (count, 3) and numpy.isfinite(codes).all() and codes.std() > 0, codes
    check_files(newest_run(root))


def check_idx(root, parts, expected):
    """Which images are tested on: the t10k ones, unless they are all there is."""
    data = root / "data"
    data.mkdir(parents=True)
    for part, count in parts.items():
        write_idx(data, part, count)
    arguments = ("--data.data_dir", data)
    run(root, "fit", "--trainer.max_steps", 2, *arguments)
    value(run(root, "test", "--ckpt_path", "last", *arguments), "test_loss")
    check_predictions(root, run(root, "predict", "--ckpt_path", "last", *arguments), expected)


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        check_drawn(folder / "drawn")
        check_idx(folder / "both", {"train": 100, "t10k": 30}, 30)
        check_idx(folder / "test-only", {"t10k": 50}, 5)
        check_idx(folder / "train-only", {"train": 100}, 10)
    print("fit, validate, test and predict work")


if __name__ == "__main__":
    main()
