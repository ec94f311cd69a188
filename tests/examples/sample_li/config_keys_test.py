"""The config keys of the examples and their types are those of tests/golden/config_keys.txt: a key
that is renamed or lost breaks users' files. After an intended change, run
tests/golden/record_config_keys.py."""

import sys

from support import ROOT, bin_dir

sys.path.insert(0, str(ROOT / "tests/golden"))

import record_config_keys


def test_config_keys():
    expected = record_config_keys.GOLDEN.read_text()
    found = record_config_keys.current(bin_dir())
    assert found.splitlines() == expected.splitlines()
