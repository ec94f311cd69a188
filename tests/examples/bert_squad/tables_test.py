"""The tables of characters in the example's sources are what their script makes."""

import sys

import support


def test_tables():
    script = support.ROOT / "examples/bert_squad/tools/make_unicode_tables.py"
    support.run(sys.executable, script, "--check")
