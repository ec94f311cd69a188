"""Trainings as batch jobs of a SLURM (tests/support/slurm_cluster.py): 2 nodes x 2 tasks, which end
with the weights and rows of an undisturbed one, whatever happens to them."""

import re
import time

import slurm_cluster
import trainings
from trainings import checkpoints, difference, rows, weights

TWO_BY_TWO = ("--nodes=2", "--ntasks-per-node=2")


class Jobs:
    """Trainings on one cluster, in folders below `work`."""

    def __init__(self, cluster, work):
        self.cluster = cluster
        self.work = work
        self.whole = None

    def folder(self, name):
        folder = self.work / name
        trainings.configure(folder, {"max_epochs": 4, "heartbeat_timeout": "5s"},
                            model={"dropout": 0.3})
        return folder

    def submit(self, folder, *arguments, options=TWO_BY_TWO, srun="srun --kill-on-bad-exit=1",
               more=("--requeue",), output="%j.out"):
        command = " ".join(trainings.command(folder, *arguments))
        return self.cluster.sbatch(f"export OMP_NUM_THREADS=1\n{srun} {command}",
                                   "--open-mode=append", *options, *more, cwd=folder, output=output)

    def text(self, folder, job):
        return (folder / f"{job}.out").read_text(errors="replace")

    def finish(self, folder, job, expect="COMPLETED"):
        found = self.cluster.wait(job)
        text = self.text(folder, job)
        assert found["JobState"] == expect, (found["JobState"], text)
        return text

    def wait_for_step(self, folder, step, job=None, version=0):
        """Until rank 0 has committed the checkpoint of a step."""
        end = time.monotonic() + 120
        while not (checkpoints(folder, version) / f"step={step}.ckpt").exists():
            output = "".join(f.read_text(errors="replace") for f in folder.glob("*.out"))
            over = job is not None and self.cluster.state(job) in slurm_cluster.OVER
            assert time.monotonic() < end and not over, f"no step {step} in {folder}:\n{output}"
            time.sleep(0.05)

    def comes_back(self, job, restarts=1):
        self.cluster.wait_until(lambda found: found["Restarts"] == str(restarts), job)
        self.cluster.start_now(job)

    @staticmethod
    def check_resumed(text, restart, job=r"\S+", run=""):
        """The job was started again, and its run resumed from a checkpoint of its own."""
        pattern = rf"job {job} was requeued \(restart {restart}\), .* from \S*{run}"
        assert re.search(pattern, text), text

    def undisturbed(self):
        """The run on 2 x 2 ranks that nothing happens to."""
        if self.whole is None:
            self.whole = self.folder("whole")
            text = self.finish(self.whole, self.submit(self.whole))
            assert "cluster: slurm (" in text, text
            for rank in range(4):
                line = f"GLOBAL_RANK: {rank}, MEMBER: {rank + 1}/4"
                assert text.count(line) == 1, text
            assert "distributed_backend=gloo" in text and "Starting with 4 processes" in text, text
            for rank in range(4):
                log = self.whole / f"lightning_logs/version_0/logs/rank_{rank}.log"
                assert f"GLOBAL_RANK: {rank}," in log.read_text()
        return self.whole

    def same_as_undisturbed(self, folder, version=0):
        whole = self.undisturbed()
        assert difference(weights(whole), weights(folder, version)) == 0.0, folder
        assert rows(whole) == rows(folder, version), folder
