"""The golden values of the metrics' tests are what torchmetrics says today, and the tables of
characters are what Python says."""

import sys

import support

support.needs_packages("torchmetrics")


def test_goldens():
    support.run(sys.executable, support.ROOT / "tests/golden/metrics/make_goldens.py", "--check")


def test_tables_of_characters():
    support.run(sys.executable, support.ROOT / "lightning/metrics/tools/make_python_tables.py",
                "--check")
