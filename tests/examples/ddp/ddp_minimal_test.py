"""ddp_minimal on 1, 2 and 3 ranks, under its own launcher and torchrun, against one process on the
same global batches and against the same program written for PyTorch's DDP."""

import re
import sys

import pytest
import support
import torch_ddp

pytestmark = pytest.mark.usefixtures("one_thread")

PROGRAM = support.bin_dir() / "ddp_minimal"
EPOCHS = 5
TOLERANCE = 2e-6  # float32 sums in another order; the losses are printed with seven digits


def run(*arguments, launcher=()):
    return support.run(*launcher, PROGRAM, *arguments, timeout=300).stdout


def losses(text):
    found = [float(loss) for loss in re.findall(r"epoch \d+/\d+ \| loss (\S+)", text)]
    assert len(found) == EPOCHS, text
    return found


def close_to(expected):
    return pytest.approx(expected, rel=0, abs=TOLERANCE)


@pytest.fixture(scope="module")
def two_ranks(one_thread):
    return run("--batch_size", 16, "--devices", 2)


def test_two_ranks(two_ranks):
    alone = run("--batch_size", 32)
    assert "rank 0 of 1" in alone, alone
    expected = losses(alone)
    assert expected[-1] < 0.011 < expected[0], f"the noise has the variance 0.01: {expected}"
    assert re.search(r"^\[rank 1\] .*rank 1 of 2", two_ranks, re.M), two_ranks
    assert losses(two_ranks) == close_to(expected)


def test_three_ranks_with_a_ragged_last_batch():
    """2048 = 22 * 93 + 2: in the last batch of an epoch the third rank has nothing."""
    expected = losses(run("--batch_size", 93))
    assert losses(run("--batch_size", 31, "--devices", 3)) == close_to(expected)


def test_torchrun(two_ranks):
    """Its ranks and our own give the same bits."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python",
                "--nproc-per-node=2"]
    text = run("--batch_size", 16, launcher=torchrun)
    assert "cluster: torchrun" in text and "rank 1 of 2" in text, text
    assert losses(text) == losses(two_ranks)


def test_pytorch(two_ranks):
    in_order = losses(run("--batch_size", 16, "--devices", 2, "--shuffle", "false"))
    assert in_order != losses(two_ranks), "--shuffle changes nothing"
    peer = torch_ddp.on_ranks(torch_ddp.train_minimal, 2, 16, EPOCHS)
    assert in_order == close_to(peer[0])
