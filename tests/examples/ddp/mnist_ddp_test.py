"""mnist_ddp on several ranks against one process on the same global batches; its test against
PyTorch with the weights that it saved; its accuracy on the digits that it draws."""

import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
import tempfile

import numpy
import support
import torch
from safetensors.torch import load_file

PROGRAM = (support.bin_dir() / "mnist_ddp").resolve()
DEADLINE = 300  # seconds: a guard against hangs
NUM_TRAIN, NUM_TEST = 384, 203  # 203: no number of ranks here divides it
LEAST_ACCURACY = 95.0  # percent, after one epoch of drawn digits; 99 and more were seen


def run(folder, *arguments):
    command = [PROGRAM, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, cwd=folder,
                            env=environment)
    if result.returncode != 0:
        sys.exit(f"FAILED: {command} ended with {result.returncode}: {result.stdout}{result.stderr}")
    return result.stdout


def write_idx(path, array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(numpy.uint8).tobytes())


def write_digits(folder):
    """Ten patterns and noise: what a network learns in a few steps, but not perfectly."""
    random = numpy.random.default_rng(0)
    patterns = numpy.kron(random.integers(0, 150, (10, 7, 7)), numpy.ones((1, 4, 4), int))
    for part, count in (("train", NUM_TRAIN), ("t10k", NUM_TEST)):
        labels = random.integers(0, 10, count)
        images = patterns[labels] + random.integers(0, 105, (count, 28, 28))
        write_idx(folder / f"{part}-images-idx3-ubyte", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels)
        if part == "t10k":
            test = (torch.from_numpy(images).float() / 255, torch.from_numpy(labels))
    return test


def train_losses(text):
    return [float(loss) for loss in re.findall(r"Train Epoch: .*\tLoss: (\S+)", text)]


def test_results(text):
    """Of each epoch: loss, right answers, images."""
    return [(float(loss), int(right), int(images)) for loss, right, images in re.findall(
        r"Test set: Average loss: (\S+), Accuracy: (\d+)/(\d+)", text)]


def check_against_one_process(folder):
    """Dropout would be another one on each rank."""
    common = ("--data_dir", folder, "--epochs", 2, "--log_interval", 1, "--test_batch_size", 50,
              "--lr", 0.2, "--conv_dropout", 0, "--fc_dropout", 0, "--gamma", 0.5)
    expected = run(folder, *common, "--batch_size", 60, "--save_model", "true")
    assert f"[60/{NUM_TRAIN} (14%)]" in expected, expected
    # 384 = 6 * 60 + 24; on 3 ranks of 20, the last batch's shares are 8 each, on 2 ranks 12.
    assert len(train_losses(expected)) == 14, expected
    for ranks in (2, 3):
        text = run(folder, *common, "--batch_size", 60 // ranks, "--devices", ranks)
        hello = re.findall(r"^(?:\[rank \d\] )?Hello from rank (\d) of (\d)", text, re.M)
        assert sorted(hello) == [(str(rank), str(ranks)) for rank in range(ranks)], text
        off = max(abs(a - b) for a, b in zip(train_losses(text), train_losses(expected),
                                             strict=True))
        assert off <= 1e-4, f"{ranks} ranks: training losses are off by {off}: {text}\n{expected}"
        for (loss, right, images), (loss1, right1, images1) in zip(
                test_results(text), test_results(expected), strict=True):
            assert images == images1 == NUM_TEST, f"{images} test images on {ranks} ranks"
            assert abs(loss - loss1) <= 2e-4 and abs(right - right1) <= 1, f"{text}\n{expected}"
    return test_results(expected)[-1]


def check_test_with_pytorch(folder, images, labels, result):
    """The printed loss and right answers are PyTorch's with the same weights."""
    weights = load_file(folder / "mnist_cnn.safetensors")
    functional = torch.nn.functional
    x = ((images - 0.1307) / 0.3081).unsqueeze(1)
    for name in ("conv1", "conv2"):
        x = functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"]).relu()
    x = functional.max_pool2d(x, 2).flatten(1)
    x = functional.linear(x, weights["fc1.weight"], weights["fc1.bias"]).relu()
    x = functional.linear(x, weights["fc2.weight"], weights["fc2.bias"])
    loss = functional.cross_entropy(x, labels).item()
    right = (x.argmax(1) == labels).sum().item()
    assert abs(result[0] - loss) <= 1e-4 and abs(result[1] - right) <= 1, (result, loss, right)
    assert right > NUM_TEST / 2, f"nothing was learned: {right}"


def check_accuracy(folder):
    text = run(folder, "--epochs", 1, "--devices", 2, "--batch_size", 32)
    ((_, right, images),) = test_results(text)
    assert images == 1200 and 100.0 * right / images >= LEAST_ACCURACY, text
    print(f"{right} of {images} drawn digits after one epoch")


def check_error(folder):
    """An error on every rank: its own exit code, and nobody waits."""
    result = subprocess.run([PROGRAM, "--data_dir", folder / "none", "--devices", "2"],
                            capture_output=True, text=True, timeout=DEADLINE)
    assert result.returncode == 1 and "holds no MNIST files" in result.stderr, result


def check_signal(folder):
    """A rank is told that the job ends: all stop, the weights are saved, the shell hears of it."""
    weights = folder / "mnist_cnn.safetensors"
    weights.unlink()
    process = subprocess.Popen(
        [PROGRAM, "--data_dir", folder, "--devices", "2", "--epochs", "100000", "--lr", "0.01",
         "--save_model", "true"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"})
    for line in process.stdout:
        if "Test set" in line:
            break
    process.send_signal(signal.SIGUSR1)
    output, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 128 + signal.SIGUSR1, (process.returncode, output, errors)
    assert "stopped by SIGUSR1" in errors, errors
    assert load_file(weights)["fc2.bias"].isfinite().all()


def check_dry_run(folder):
    text = run(folder, "--dry_run", "true", "--data_dir", folder)
    assert len(train_losses(text)) == 1 and len(test_results(text)) == 1, text


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        images, labels = write_digits(folder)
        result = check_against_one_process(folder)
        check_test_with_pytorch(folder, images, labels, result)
        check_signal(folder)
        check_dry_run(folder)
        check_error(folder)
        check_accuracy(folder)


if __name__ == "__main__":
    main()
