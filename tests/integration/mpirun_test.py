"""Under a real mpirun: a training has the weights of one under the own launcher, and ends and goes on
as there when a rank is killed, freezes or throws (tests/support/rank_faults.py)."""

import itertools
import os
import sys

import rank_faults
import support
from rank_faults import RANKS, Launcher, check_fault, check_whole


def cases(work, whole):
    before = (support.mpirun(), "--allow-run-as-root", "--oversubscribe", "-n", str(RANKS))
    launcher = Launcher("mpirun", before)
    for fault, rank in itertools.product(("freeze", "kill", "throw"), range(RANKS)):
        yield check_fault, (work, whole, launcher, fault, rank, "training")
    yield check_whole, (work, whole, launcher, "mpi")


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    support.mpirun()  # skips early
    sys.exit(rank_faults.run_cases(cases, at_a_time=3))
