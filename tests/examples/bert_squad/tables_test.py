"""The tables of characters in the example's sources are what their scripts make."""

import sys

import pytest
import support


@pytest.mark.parametrize("script", ["make_unicode_tables.py", "make_python_tables.py"])
def test_tables(script):
    support.run(sys.executable, support.ROOT / "examples/bert_squad/tools" / script, "--check")
