"""mnist_ddp on several ranks against one process on the same global batches; its test against
PyTorch with the weights that it saved; its accuracy on the digits that it draws."""

import re
import signal
import struct

import numpy
import pytest
import torch
from safetensors.torch import load_file
from support import Program

pytestmark = pytest.mark.usefixtures("one_thread")

PROGRAM = Program("mnist_ddp")
NUM_TRAIN, NUM_TEST = 384, 203  # 203: no number of ranks here divides it
LEAST_ACCURACY = 95.0  # percent, after one epoch of drawn digits; 99 and more were seen


def run(folder, *arguments, **options):
    return PROGRAM(*arguments, cwd=folder, **options).stdout


def write_idx(path, array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(numpy.uint8).tobytes())


@pytest.fixture(scope="module")
def images_of_test(work):
    """Ten patterns and noise: what a network learns in a few steps, but not perfectly."""
    random = numpy.random.default_rng(0)
    patterns = numpy.kron(random.integers(0, 150, (10, 7, 7)), numpy.ones((1, 4, 4), int))
    for part, count in (("train", NUM_TRAIN), ("t10k", NUM_TEST)):
        labels = random.integers(0, 10, count)
        images = patterns[labels] + random.integers(0, 105, (count, 28, 28))
        write_idx(work / f"{part}-images-idx3-ubyte", images)
        write_idx(work / f"{part}-labels-idx1-ubyte", labels)
        if part == "t10k":
            test = (torch.from_numpy(images).float() / 255, torch.from_numpy(labels))
    return test


def train_losses(text):
    return [float(loss) for loss in re.findall(r"Train Epoch: .*\tLoss: (\S+)", text)]


def results_of_test(text):
    """Of each epoch: loss, right answers, images."""
    return [(float(loss), int(right), int(images)) for loss, right, images in re.findall(
        r"Test set: Average loss: (\S+), Accuracy: (\d+)/(\d+)", text)]


# Dropout would be another one on each rank.
COMMON = ("--epochs", 2, "--log_interval", 1, "--test_batch_size", 50, "--lr", 0.2,
          "--conv_dropout", 0, "--fc_dropout", 0, "--gamma", 0.5)


@pytest.fixture(scope="module")
def one_process(work, images_of_test):
    """Its output; its weights are in the folder."""
    text = run(work, "--data_dir", work, *COMMON, "--batch_size", 60, "--save_model", "true")
    assert f"[60/{NUM_TRAIN} (14%)]" in text, text
    # 384 = 6 * 60 + 24; on 3 ranks of 20, the last batch's shares are 8 each, on 2 ranks 12.
    assert len(train_losses(text)) == 14, text
    return text


@pytest.mark.parametrize("ranks", [2, 3])
def test_equals_one_process(ranks, one_process, work):
    text = run(work, "--data_dir", work, *COMMON, "--batch_size", 60 // ranks, "--devices", ranks)
    hello = re.findall(r"^(?:\[rank \d\] )?Hello from rank (\d) of (\d)", text, re.M)
    assert sorted(hello) == [(str(rank), str(ranks)) for rank in range(ranks)], text
    assert train_losses(text) == pytest.approx(train_losses(one_process), rel=0, abs=1e-4)
    for (loss, right, images), (loss1, right1, images1) in zip(
            results_of_test(text), results_of_test(one_process), strict=True):
        assert images == images1 == NUM_TEST
        assert abs(loss - loss1) <= 2e-4 and abs(right - right1) <= 1, f"{text}\n{one_process}"


def test_equals_pytorch(one_process, images_of_test, work):
    """The printed loss and right answers are PyTorch's with the same weights."""
    images, labels = images_of_test
    weights = load_file(work / "mnist_cnn.safetensors")
    functional = torch.nn.functional
    x = ((images - 0.1307) / 0.3081).unsqueeze(1)
    for name in ("conv1", "conv2"):
        x = functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"]).relu()
    x = functional.max_pool2d(x, 2).flatten(1)
    x = functional.linear(x, weights["fc1.weight"], weights["fc1.bias"]).relu()
    x = functional.linear(x, weights["fc2.weight"], weights["fc2.bias"])
    loss = functional.cross_entropy(x, labels).item()
    right = (x.argmax(1) == labels).sum().item()
    found = results_of_test(one_process)[-1]
    assert abs(found[0] - loss) <= 1e-4 and abs(found[1] - right) <= 1, (found, loss, right)
    assert right > NUM_TEST / 2, "nothing was learned"


def test_accuracy(tmp_path):
    text = run(tmp_path, "--epochs", 1, "--devices", 2, "--batch_size", 32)
    ((_, right, images),) = results_of_test(text)
    assert images == 1200 and 100.0 * right / images >= LEAST_ACCURACY, text


def test_error(tmp_path):
    """An error on every rank: its own exit code, and no rank is left waiting."""
    result = PROGRAM("--data_dir", tmp_path / "none", "--devices", "2", expect=1)
    assert "holds no MNIST files" in result.stderr, result


def test_signal(images_of_test, work, start, tmp_path):
    """A rank is told that the job ends: all stop, the weights are saved, the shell hears of it."""
    program = start(PROGRAM.path, "--data_dir", work, "--devices", "2", "--epochs", "100000", "--lr",
                    "0.01", "--save_model", "true", cwd=tmp_path)
    program.wait_for("Test set")
    program.process.send_signal(signal.SIGUSR1)
    program.end(128 + signal.SIGUSR1)
    assert "stopped by SIGUSR1" in "".join(program.errors)
    assert load_file(tmp_path / "mnist_cnn.safetensors")["fc2.bias"].isfinite().all()


def test_dry_run(images_of_test, work, tmp_path):
    text = run(tmp_path, "--dry_run", "true", "--data_dir", work)
    assert len(train_losses(text)) == 1 and len(results_of_test(text)) == 1, text
