"""Faults of whole trainings (tests/support/rank_faults.py) under a real srun, on two nodes."""

import itertools
import os
import sys

import rank_faults
import slurm
from rank_faults import PHASES, RANKS, Launcher, check_fault, check_whole

SRUN = ("srun", f"--nodes={RANKS}", "--ntasks-per-node=1", "--kill-on-bad-exit=1")


def cases_on(cluster):
    launcher = Launcher("slurm", before=(str(slurm.SCRIPT), "exec", *SRUN),
                        hosts=("node1", "node2"), environment=cluster.environment)

    def cases(work, whole):
        yield check_whole, (work, whole, launcher, "slurm")
        # First what takes longest.
        yield from rank_faults.cases_of_all_ranks(work, whole, launcher)
        for fault, rank, phase in itertools.product(("freeze", "kill", "throw"), range(RANKS),
                                                    PHASES):
            yield check_fault, (work, whole, launcher, fault, rank, phase)
    return cases


def main():
    os.environ["OMP_NUM_THREADS"] = "1"
    with slurm.Cluster(cpus=16, kill_wait=2) as cluster:
        return rank_faults.run_cases(cases_on(cluster), at_a_time=8)


if __name__ == "__main__":
    sys.exit(main())
