"""The golden values of the optimizer, scheduler and loss scaler tests are what PyTorch and
transformers say today."""

import sys

import support

support.needs_packages("torch", "transformers")


def test_goldens():
    support.run(sys.executable, support.ROOT / "tests/golden/optim/make_goldens.py", "--check")
