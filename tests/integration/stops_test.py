"""Requests to stop from any rank at any moment of 200 trainings on three ranks: all ranks stop at one
step, and the resumed training is exact. The moments are drawn from a seed that is printed."""

import os
import re
import subprocess
import sys
import tempfile

import support

TRAININGS = 200


def main():
    seed = sys.argv[1] if len(sys.argv) > 1 else str(int.from_bytes(os.urandom(4), "little"))
    print(f"seed {seed}", flush=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(
            [support.bin_dir() / "stops_program", "3", str(TRAININGS), seed, folder],
            capture_output=True, text=True, timeout=1000)
    if result.returncode != 0:
        sys.exit(f"exit code {result.returncode}\n{result.stdout[-500:]}\n{result.stderr[-3000:]}")
    found = re.search(r"^(\d+) of 200 trainings were stopped and resumed", result.stdout, re.M)
    print(found[0])
    # A few requests come so late that the training is over first.
    assert int(found[1]) > TRAININGS / 2, found[0]


if __name__ == "__main__":
    main()
