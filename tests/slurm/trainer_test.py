"""The Trainer in jobs of a real SLURM: it stops before the job ends, is started again, resumes
exactly, and names the rank that is to blame when a task fails. Weights are read by the safetensors
package. Deadlines are guards against hangs: they decide nothing.
"""

import math
import os
import re
import signal

import pytest
import slurm_cluster
import support
import trainings
from slurm_jobs import Jobs
from support import cases
from trainings import checkpoints, difference, rows, values, weights

slurm_cluster.need()
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def shared_jobs(cluster, work):
    return Jobs(cluster, work)


@pytest.fixture
def jobs(shared_jobs):
    """What the jobs have said is shown when a test fails."""
    began = set(shared_jobs.work.rglob("*.out"))
    yield shared_jobs
    for file in sorted(set(shared_jobs.work.rglob("*.out")) - began):
        print(f"---- {file}", file.read_text(errors="replace")[-3000:], sep="\n")


def requeue_checkpoints(folder):
    return sorted(path.name for path in checkpoints(folder).glob("requeue-*.ckpt"))


def test_signal_requeues(jobs):
    """SIGUSR1, several times: checkpoint, requeue, automatic resume; two requeue checkpoints stay."""
    folder = jobs.folder("signal")
    job = jobs.submit(folder, "--model.step_seconds", 0.5)
    steps = (2, 7, 12)
    for restart, step in enumerate(steps):
        jobs.wait_for_step(folder, step, job)
        jobs.cluster.signal(job, "USR1")
        jobs.comes_back(job, restart + 1)
    text = jobs.finish(folder, job)
    assert text.count("Trainer: stopped by SIGUSR1 after step") == 3, text
    assert text.count(f"job {job} will be requeued (scontrol requeue {job})") == 3, text
    jobs.check_resumed(text, 3, job)
    jobs.same_as_undisturbed(folder)
    assert len(requeue_checkpoints(folder)) == 2, requeue_checkpoints(folder)
    assert not (folder / "lightning_logs/version_1").exists()


def test_array_element_requeues(jobs):
    folder = jobs.folder("array")
    array = jobs.submit(folder, "--model.step_seconds", 0.4,
                        more=("--requeue", "--array=7"), output="%A_%a.out")
    jobs.wait_for_step(folder, 2, f"{array}_7")
    jobs.cluster.signal(f"{array}_7", "USR1")
    jobs.comes_back(f"{array}_7")
    text = jobs.finish(folder, f"{array}_7")
    assert f"scontrol requeue {array}_7" in text, text
    jobs.same_as_undisturbed(folder)


@pytest.mark.parametrize(("name", "more"), [("SIGTERM", ()), ("SIGUSR1", ("--signal=USR1@30",))])
def test_preemption(name, more, jobs):
    """SLURM requeues by itself what it told to end by SIGTERM; a job with --signal gets that."""
    folder = jobs.folder(f"preempted_{name}")
    job = jobs.submit(folder, "--model.step_seconds", 0.4, more=("--requeue", *more))
    jobs.wait_for_step(folder, 2, job)
    other = jobs.cluster.sbatch("true", "--partition=high", "--nodes=2", "--exclusive",
                                cwd=folder, output="other-%j.log")
    jobs.cluster.wait(other)
    jobs.comes_back(job)
    text = jobs.finish(folder, job)
    assert f"stopped by {name} after step" in text, text
    waited = f"job {job} is being preempted" in text
    assert waited == (name == "SIGTERM"), text
    jobs.same_as_undisturbed(folder)


def test_time_limit(jobs):
    """Without a signal: the run asks SLURM how long the job may take, and stops before."""
    folder = jobs.folder("limit")
    job = jobs.submit(folder, "--model.step_seconds", 1, "--trainer.slurm.stop_before_end", "58s",
                      "--trainer.max_epochs", 50, more=("--requeue", "--time=1"))
    text = jobs.cluster.wait_for_text(folder / f"{job}.out", "stopped by")
    jobs.comes_back(job)
    jobs.cluster.cancel(job)
    text = jobs.finish(folder, job, expect="CANCELLED")
    assert "stopped by SIGUSR1 after step" in text, text


def test_cancel(jobs):
    """scancel: a checkpoint, and the job stays cancelled; a new job resumes by ckpt_path."""
    folder = jobs.folder("cancelled")
    job = jobs.submit(folder, "--model.step_seconds", 0.4)
    jobs.wait_for_step(folder, 2, job)
    jobs.cluster.cancel(job)
    text = jobs.finish(folder, job, expect="CANCELLED")
    jobs.cluster.wait_for_text(folder / f"{job}.out", "stopped by SIGTERM after step")
    assert jobs.cluster.job(job)["Restarts"] == "0"
    assert len(requeue_checkpoints(folder)) == 1, text
    jobs.finish(folder, jobs.submit(folder, "--ckpt_path", "last"))
    jobs.same_as_undisturbed(folder)


@pytest.mark.parametrize(("option", "value"), cases({
    "auto_requeue": ("auto_requeue", "false"), "max_requeues": ("max_requeues", 0),
}, exhaustive=("auto_requeue",)))
def test_no_requeue(option, value, jobs):
    """What stands against a requeue is said, and the job ends."""
    folder = jobs.folder(f"no_requeue_{option}")
    job = jobs.submit(folder, "--model.step_seconds", 0.4, f"--trainer.slurm.{option}", value)
    jobs.wait_for_step(folder, 2, job)
    jobs.cluster.signal(job, "USR1")
    text = jobs.finish(folder, job, expect="FAILED")
    assert f"Job {job} is not requeued: " in text and f"{option} is {value}" in text, text
    assert "resume with" in text and requeue_checkpoints(folder), text


def test_two_jobs_share_a_folder(jobs):
    """Each resumes from its own checkpoints."""
    folder = jobs.folder("shared")
    options = ("--nodes=1", "--ntasks-per-node=2")
    first = jobs.submit(folder, "--model.step_seconds", 0.5, options=options)
    jobs.wait_for_step(folder, 2, first)
    second = jobs.submit(folder, "--model.step_seconds", 0.5, "--seed_everything", 4,
                         options=options)
    jobs.wait_for_step(folder, 1, second, version=1)
    jobs.cluster.signal(first, "USR1")
    jobs.comes_back(first)
    text = jobs.finish(folder, first)
    jobs.finish(folder, second)
    jobs.check_resumed(text, 1, first, "version_0/")
    assert difference(weights(folder, 0), weights(folder, 1)) > 0.0
    assert len(rows(folder, 0)) == len(rows(folder, 1))


DIED = r"exited \(its connection closed\)"
FROZEN = r"is not responding \(no message for 5 s\)"


@pytest.mark.parametrize(("fault", "rank", "end"), cases({
    "kill0": ("kill", 0, DIED),
    "kill3": ("kill", 3, DIED),
    "freeze0": ("freeze", 0, FROZEN),
    "freeze2": ("freeze", 2, FROZEN),
    "throw2": ("throw", 2, r"failed at step 2 in training_step.*: the disk of this rank"),
}, exhaustive=("kill0", "freeze2", "throw2")))  # slurm_faults has them on two ranks
def test_task_fails(fault, rank, end, jobs):
    folder = jobs.folder(f"{fault}{rank}")
    job = jobs.submit(folder, "--model.fault", fault, "--model.fault_rank", rank)
    text = jobs.finish(folder, job, expect="FAILED")
    node = "node1" if rank < 2 else "node2"
    assert re.search(rf"rank {rank} \({node}\) {end}", text), text
    jobs.finish(folder, jobs.submit(folder, "--ckpt_path", "last"))
    jobs.same_as_undisturbed(folder)


def run_script(jobs, name, *arguments, ranks=4, **variables):
    """Submits a script of sbatch/ as a user would, on a cluster without GPUs."""
    folder = jobs.folder(name)
    environment = jobs.cluster.environment | {
        "SBATCH_GRES": "none", "LIGHTNING_BIN_DIR": str(support.bin_dir())} | variables
    result = jobs.cluster.run(
        "sbatch", "--parsable", f"--output={folder}/%j.out", "--cpus-per-task=1",
        support.ROOT / f"sbatch/{name}.sbatch", *arguments, "--trainer.default_root_dir", folder,
        cwd=support.ROOT, env=environment)
    text = jobs.finish(folder, int(result.stdout))
    assert (f"Starting with {ranks} processes" in text) == (ranks > 1) and "fit ended" in text, text
    assert (checkpoints(folder) / "last.ckpt/manifest.json").exists()
    return folder, text


def test_script_of_sample_li(jobs):
    """sbatch of 2 nodes x 2 tasks."""
    folder, _ = run_script(jobs, "sample_li", "--trainer.max_steps", "40",
                           "--trainer.max_epochs", "-1", "--trainer.log_every_n_steps", "1")
    losses = values(folder, "train_loss")
    assert len(losses) == 40 and losses[-1] < losses[0], losses


@pytest.mark.parametrize(("name", "arguments", "ranks"), [
    ("bert_squad_distributed", ["ddp"], 4), ("bert_squad_baseline", [], 1)])
def test_scripts_of_bert_squad(name, arguments, ranks, minilm, jobs):
    """With the pinned small model, on 2 nodes x 2 tasks and on one task."""
    folder, _ = run_script(jobs, name, *arguments, "--trainer.max_epochs", "1",
                           "--trainer.limit_train_batches", "2",
                           "--trainer.limit_val_batches", "2",
                           "--trainer.log_every_n_steps", "1", ranks=ranks,
                           CONFIG="configs/bert_squad/demo.yaml")
    losses = values(folder, "train_loss")
    assert len(losses) == 2 and all(map(math.isfinite, losses)), losses
    assert "val_loss" in rows(folder)[-1]


@pytest.mark.parametrize(("per_node", "preparing"), [("true", (0, 2)), ("false", (0,))])
def test_preparation(per_node, preparing, jobs):
    """prepare_data on the first rank of each node, or on rank 0 alone; setup on every rank."""
    folder = jobs.folder(f"preparation_{per_node}")
    file = folder / "hooks"
    jobs.finish(folder, jobs.submit(folder, "--model.hooks", file, "--data.hooks", file,
                                    "--trainer.max_steps", 1, "--trainer.prepare_data_per_node",
                                    per_node))
    trainings.check_preparation(file, 4, preparing)


def test_uneven_placement(jobs):
    """3 + 1 tasks: the numbers of 2 x 2."""
    folder = jobs.folder("uneven")
    jobs.finish(folder, jobs.submit(folder, options=("--nodes=2", "--ntasks=4")))
    jobs.same_as_undisturbed(folder)


def test_mistakes(jobs):
    folder = jobs.folder("mistakes")
    arguments = ("--trainer.devices", 2, "--trainer.num_nodes", 2)
    job = jobs.submit(folder, *arguments, options=("--nodes=2", "--ntasks-per-node=1"))
    text = jobs.finish(folder, job, expect="FAILED")
    assert "'#SBATCH --ntasks-per-node=2'" in text, text
    text = jobs.finish(folder, jobs.submit(folder, *arguments, srun=""), expect="FAILED")
    assert "HINT: write srun before" in text, text


def test_old_incarnation_writes_nothing(jobs, start):
    """A run that was taken for dead wakes up while its successor is through: it ends, and what the
    successor wrote stays as it is. Two processes each stand in for the two incarnations."""
    folder = jobs.folder("zombie")
    variables = {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "zombie", "SLURM_CLUSTER_NAME": "test",
                 "SLURM_STEP_ID": "0", "SLURM_NODEID": "0", "SLURM_NTASKS": "2",
                 "SLURM_JOB_NUM_NODES": "1", "SLURM_STEP_TASKS_PER_NODE": "2"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")} | variables

    def begin(restart, *arguments):
        more = {"SLURM_RESTART_COUNT": str(restart)} if restart else {}
        return [start(
            *trainings.command(folder, "--trainer.slurm.stop_before_end", "0s", *arguments),
            env=environment | more | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank})
            for rank in "01"]

    def end(runs, code):
        return "".join(run.end(code).text for run in runs)

    old = begin(0, "--model.step_seconds", "0.6")
    jobs.wait_for_step(folder, 2)
    for run in old:
        run.process.send_signal(signal.SIGSTOP)
    jobs.check_resumed(end(begin(1), 0), 1)

    def everything():
        return {path: path.read_bytes() for path in (folder / "lightning_logs").rglob("*")
                if path.is_file()}
    before = everything()
    for run in old:
        run.process.send_signal(signal.SIGCONT)
    output = end(old, 75)
    assert "now belongs to job slurm/test/77 (restart 1)" in output, output
    assert everything() == before
