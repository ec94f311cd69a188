"""A real SLURM on this machine while a test runs; scripts/slurm_cluster.sh makes it. The fixture
`cluster` gives one.

    with slurm_cluster.Cluster() as cluster:
        job = cluster.sbatch("srun hostname", "--nodes=2", "--ntasks-per-node=2", cwd=folder)
        assert cluster.wait(job)["JobState"] == "COMPLETED"

The cluster ends with the block, and also when the test is killed.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import ports
import support

SCRIPT = support.ROOT / "scripts/slurm_cluster.sh"
OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY")


def reason_against() -> str:
    """Why there can be no cluster here, or nothing."""
    if os.geteuid() != 0:
        return "a SLURM of our own needs root"
    missing = [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} not found (scripts/slurm_cluster.sh install)"
    spaces = ["unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "true"]
    if subprocess.run(spaces, capture_output=True).returncode != 0:
        return "a SLURM of our own needs the right to make namespaces (CAP_SYS_ADMIN)"
    return ""


def need() -> None:
    """Skips the test where there can be no cluster; with LIGHTNING_REQUIRE_SLURM=1 that fails it."""
    if reason := reason_against():
        support.skip(reason, unless="LIGHTNING_REQUIRE_SLURM")


class Cluster:
    """Needs what need() checks."""

    def __init__(self, nodes: int = 2, cpus: int = 8, gpus: int = 2, kill_wait: int = 5,
                 grace: int = 10):
        # The names of its sockets must be short.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="slurm_", dir="/tmp"))
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
        port = ports.free_block()
        self.environment |= {
            "SLURM_TEST_DIR": str(self.folder), "SLURM_TEST_NODES": str(nodes),
            "SLURM_TEST_CPUS": str(cpus), "SLURM_TEST_GPUS": str(gpus),
            "SLURM_TEST_KILL_WAIT": str(kill_wait), "SLURM_TEST_GRACE": str(grace),
            # Another cluster on this machine has other ports, and so other jobs.
            "SLURM_TEST_PORT": str(port), "SLURM_TEST_FIRST_JOB": str(100 * port),
            "SLURM_CONF": str(self.folder / "etc/slurm.conf")}

    def __enter__(self):
        self._start_guard()
        self.script("up")
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            self.show_logs()
        self.script("down")
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._alive)

    def _start_guard(self):
        """A process that isn't our child takes the cluster down once this one is gone."""
        waiting, self._alive = os.pipe()
        # A shell gives what it starts in the background another stdin unless told.
        command = ('exec 3<&0; (cat <&3; "$0" down; rm -rf "$SLURM_TEST_DIR") '
                   '> /dev/null 2>&1 &')
        subprocess.run(["setsid", "sh", "-c", command, str(SCRIPT)], env=self.environment,
                       stdin=waiting, check=True)
        os.close(waiting)

    def show_logs(self):
        for name in ("slurmctld.log", "slurmd-node1.log", "slurmd-node2.log"):
            file = self.folder / "log" / name
            if file.exists():
                lines = file.read_text(errors="replace").splitlines()[-15:]
                print(f"---- {name}", *lines, sep="\n", file=sys.stderr)

    def run(self, *command, check: bool = True, **options) -> subprocess.CompletedProcess:
        """A command of SLURM that doesn't listen: sbatch, squeue, scontrol, scancel."""
        options = {"env": self.environment, "timeout": 120} | options
        result = subprocess.run([str(part) for part in command], text=True, capture_output=True,
                                **options)
        if check and result.returncode != 0:
            raise RuntimeError(f"{command} ended with {result.returncode}: {result.stderr}")
        return result

    def script(self, *arguments, **options) -> str:
        return self.run(SCRIPT, *arguments, **options).stdout

    def exec(self, *command, **options) -> subprocess.CompletedProcess:
        """srun or salloc, as the host that the nodes know."""
        return self.run(SCRIPT, "exec", *command, **options)

    def sbatch(self, script: str, *options: str, cwd, output: str = "%j.out") -> int:
        """Submits lines of bash and gives the job's id; its output goes to `output` in `cwd`."""
        result = self.run("sbatch", "--parsable", f"--output={output}", *options,
                          input=f"#!/bin/bash\n{script}\n", cwd=cwd)
        return int(result.stdout.split(";")[0])

    def job(self, job) -> dict:
        """What `scontrol show job` says of a job or array element."""
        text = self.run("scontrol", "--oneliner", "show", "job", job).stdout
        first = text.splitlines()[0]
        return dict(word.split("=", 1) for word in first.split() if "=" in word)

    def state(self, job) -> str:
        return self.job(job)["JobState"]

    def wait(self, job, states=OVER, timeout: float = 120) -> dict:
        """Waits until the job is in one of `states`; a guard against hangs, no measurement."""
        return self.wait_until(lambda found: found["JobState"] in states, job, timeout)

    def wait_until(self, condition, job, timeout: float = 120) -> dict:
        end = time.monotonic() + timeout
        while True:
            found = self.job(job)
            if condition(found):
                return found
            if time.monotonic() > end:
                raise TimeoutError(f"job {job} after {timeout} s: {found}")
            time.sleep(0.1)

    def wait_for_text(self, file, text: str, timeout: float = 120) -> str:
        """Waits until a job has written `text` to its output, and gives all of it."""
        end = time.monotonic() + timeout
        file = pathlib.Path(file)
        while True:
            found = file.read_text(errors="replace") if file.exists() else ""
            if text in found:
                return found
            if time.monotonic() > end:
                raise TimeoutError(f"no '{text}' in {file} after {timeout} s:\n{found[-3000:]}")
            time.sleep(0.1)

    def start_now(self, job) -> None:
        """Shortens the wait of a requeued job, six seconds, to two."""
        self.wait(job, states=("PENDING",))
        # Nodes refuse a start in the second in which they were told of the requeue.
        time.sleep(2)
        self.run("scontrol", "update", f"JobId={job}", "StartTime=now", check=False)

    def signal(self, job, name: str) -> None:
        """To all tasks of a job's steps."""
        self.run("scancel", f"--signal={name}", job)

    def cancel(self, job) -> None:
        self.run("scancel", job)

    def task_pid(self, job, rank: int, timeout: float = 60) -> int:
        """The pid, on this machine, of a task that runs."""
        end = time.monotonic() + timeout
        while True:
            if pids := self.script("task-pid", job, rank).split():
                return int(pids[0])
            if time.monotonic() > end:
                raise TimeoutError(f"rank {rank} of job {job} isn't there after {timeout} s")
            time.sleep(0.1)

    def kill_node(self, node: int, silent: bool = False) -> None:
        self.script("kill-node", *(["--silent"] if silent else []), node)

    def start_node(self, node: int) -> None:
        self.script("start-node", node)
