"""Requests to stop from any rank at any moment of many trainings on three ranks: all ranks stop at
one step, and the resumed training is exact. The moments are drawn from a seed that is printed; the
variable LIGHTNING_TEST_SEED sets it."""

import os
import re

import pytest
import support

TRAININGS = 200 if support.EXHAUSTIVE else 40


@pytest.mark.usefixtures("one_thread")
def test_stops(tmp_path):
    seed = os.environ.get("LIGHTNING_TEST_SEED") or int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    done = support.run(support.bin_dir() / "stops_program", 3, TRAININGS, seed, tmp_path,
                       timeout=1000)
    found = re.search(rf"^(\d+) of {TRAININGS} trainings were stopped and resumed", done.stdout,
                      re.M)
    assert found, done
    # A few requests come so late that the training is over first.
    assert int(found[1]) > TRAININGS / 2, found[0]
