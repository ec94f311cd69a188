"""Under a real mpirun: a training has the weights of one under the own launcher, and ends and
resumes as there when a rank is killed, freezes or throws (tests/support/rank_faults.py)."""

import itertools

import pytest
import rank_faults
import support
from rank_faults import RANKS, Case, Launcher, check_fault, check_whole

MPIRUN = support.mpirun()
pytestmark = pytest.mark.usefixtures("one_thread")

CASES = [rank_faults.as_parameter(Case(check_whole, "mpirun", ("mpi",)))] + [
    rank_faults.as_parameter(Case(check_fault, "mpirun", (fault, rank, "training")),
                             always=(fault, rank) in (("freeze", 1), ("kill", 0), ("throw", 1)))
    for fault, rank in itertools.product(("freeze", "kill", "throw"), range(RANKS))]


@pytest.fixture(scope="module")
def running(work, in_threads):
    before = (MPIRUN, "--allow-run-as-root", "--oversubscribe", "-n", str(RANKS))
    return in_threads(rank_faults.Faults(work, [Launcher("mpirun", before)]), at_a_time=3)


@pytest.mark.parametrize("case", CASES)
def test_fault(case, running):
    running.result(case)
