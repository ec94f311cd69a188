"""A training under a real mpirun has the weights of one under the own launcher."""

import os
import sys

import rank_faults
import support
from rank_faults import RANKS, Launcher, check_whole


def cases(work, whole):
    before = (support.mpirun(), "--allow-run-as-root", "--oversubscribe", "-n", str(RANKS))
    yield check_whole, (work, whole, Launcher("mpirun", before), "mpi")


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    support.mpirun()  # skips early
    sys.exit(rank_faults.run_cases(cases, at_a_time=1))
