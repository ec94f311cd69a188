"""orders.txt, which the C++ tests compare with, is what the published algorithms give."""

import pathlib
import sys

import support


def test_orders():
    script = pathlib.Path(__file__).with_name("golden") / "make_orders.py"
    support.run(sys.executable, script, "--check")
