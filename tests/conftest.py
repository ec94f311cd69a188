"""Fixtures of the Python tests. Helpers that need no set-up are in tests/support.

A test that can't run here is skipped before it does any work, and says what is missing; the
variables LIGHTNING_REQUIRE_MPIRUN, _SLURM, _GPU and _DATA make that a failure. With
LIGHTNING_EXHAUSTIVE=1 the long matrices run whole. A session whose cases were all skipped ends with
status 77.
"""

import concurrent.futures
import time

import pytest

pytest.register_assert_rewrite("support", "rank_run", "rank_faults", "slurm_jobs", "tiny_bert",
                               "trainings")

import ports
import rank_run
import slurm_cluster
import support

SKIPPED = 77


# ---- skips

def pytest_collection_modifyitems(config, items):
    """Without LIGHTNING_EXHAUSTIVE the rest of the long matrices is left out, not skipped: nothing is
    missing. pytest's last line counts it as deselected."""
    if support.EXHAUSTIVE:
        return
    left_out = [item for item in items if item.get_closest_marker("exhaustive")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # a worker of xdist
        return
    seen = {outcome for outcome, reports in reporter.stats.items() if reports and outcome}
    if "skipped" in seen and not seen & {"passed", "failed", "error"}:
        session.exitstatus = SKIPPED


@pytest.fixture(scope="session")
def mpirun():
    return support.mpirun()


@pytest.fixture(scope="session")
def minilm():
    """The folder of the pinned small model."""
    return support.minilm_folder()


# ---- folders and processes

@pytest.fixture(scope="module")
def work(request, tmp_path_factory):
    """A folder that the cases of a file share."""
    return tmp_path_factory.mktemp(request.module.__name__.rpartition(".")[2])


@pytest.fixture(scope="module")
def one_thread():
    """Programs compute with one thread: several ranks share the cores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture
def start():
    """start(program, *arguments) starts a program of one or several ranks as a rank_run.Run; what
    is left of it when the test ends is killed."""
    runs = []

    def start_run(program, *arguments, **options):
        runs.append(rank_run.Run(program, *arguments, **options))
        return runs[-1]

    yield start_run
    for run in runs:
        run.kill()


@pytest.fixture
def free_port():
    """free_port() gives a port of this machine that no other test gets."""
    return ports.free_port


# ---- cases that mostly wait

class CasesInThreads:
    """Cases that run beside one another; result(case) waits for one of them."""

    def __init__(self, pool, function, cases):
        self._futures = {case: pool.submit(self._timed, function, case) for case in cases}

    @staticmethod
    def _timed(function, case):
        began = time.monotonic()
        function(case)
        return time.monotonic() - began

    def result(self, case):
        print(f"passed after {self._futures[case].result():.0f} s")


@pytest.fixture(scope="module")
def in_threads(request):
    """in_threads(function, at_a_time) begins function(case) for the parameter `case` of each of the
    file's tests that were chosen. Where runs wait for timeouts, more of them than there are cores
    cost no more time than one."""
    pools = []

    def begin(function, at_a_time):
        pool = concurrent.futures.ThreadPoolExecutor(at_a_time)
        pools.append(pool)
        cases = [item.callspec.params["case"] for item in request.session.items
                 if item.path == request.path and "case" in item.fixturenames
                 and not item.get_closest_marker("skip")]
        return CasesInThreads(pool, function, cases)

    yield begin
    for pool in pools:
        pool.shutdown(cancel_futures=True)


# ---- SLURM

@pytest.fixture(scope="module")
def cluster(request):
    """A SLURM of two nodes that the cases of a file share; the file may name other sizes as
    CLUSTER, arguments of slurm_cluster.Cluster. Files all of whose tests need it call
    slurm_cluster.need() at their top."""
    slurm_cluster.need()
    with slurm_cluster.Cluster(**getattr(request.module, "CLUSTER", {})) as found:
        failed = request.session.testsfailed
        yield found
        if request.session.testsfailed > failed:
            found.show_logs()
