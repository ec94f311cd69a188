"""Faults of whole trainings (tests/support/rank_faults.py) under a real srun, on two nodes."""

import pytest
import rank_faults
import slurm_cluster
from rank_faults import PHASES, RANKS, Case, Launcher, check_whole

slurm_cluster.need()
pytestmark = pytest.mark.usefixtures("one_thread")

CLUSTER = {"cpus": 16, "kill_wait": 2}
SRUN = ("srun", f"--nodes={RANKS}", "--ntasks-per-node=1", "--kill-on-bad-exit=1")
CASES = [rank_faults.as_parameter(Case(check_whole, "slurm", ("slurm",))),
         *rank_faults.matrix(["slurm"], ["freeze", "kill", "throw"], list(PHASES))]


@pytest.fixture(scope="module")
def running(cluster, work, in_threads):
    launcher = Launcher("slurm", before=(str(slurm_cluster.SCRIPT), "exec", *SRUN),
                        hosts=("node1", "node2"), environment=cluster.environment)
    return in_threads(rank_faults.Faults(work, [launcher]), at_a_time=8)


@pytest.mark.parametrize("case", CASES)
def test_fault(case, running):
    running.result(case)
