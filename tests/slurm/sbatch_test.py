"""The scripts of sbatch/: what they ask SLURM for, so that a run comes back and resumes; and on
a real SLURM, which accepts it: each task gets its command line, with and without GPUs. Programs that
print theirs stand in for those that train."""

import json

import pytest
import support

TOPOLOGY = support.bin_dir() / "topology_program"
SCRIPTS = sorted((support.ROOT / "sbatch").glob("*.sbatch"))
STAND_IN = f"""#!/bin/bash
echo "arguments: $(basename "$0") $*"
exec {TOPOLOGY} gpus=yes
"""


def submit(cluster, folder, script, *arguments, **variables):
    environment = cluster.environment | {"LIGHTNING_BIN_DIR": str(folder / "bin")} | variables
    result = cluster.run("sbatch", "--parsable", script, *arguments, cwd=folder, env=environment)
    job = int(result.stdout)
    found = cluster.wait(job)
    text = (folder / f"{script.stem}-{job}.out").read_text()
    assert found["JobState"] == "COMPLETED", (found["JobState"], text)
    ranks = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    commands = {line.split(": ", 1)[1] for line in text.splitlines() if "arguments: " in line}
    assert len(commands) == 1, text
    return found, ranks, commands.pop()


each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


def test_all_scripts_are_known():
    assert [script.stem for script in SCRIPTS] == [
        "bert_squad_baseline", "bert_squad_distributed", "mnist_ddp", "sample_li"]


@each_script
def test_options(script):
    text = script.read_text()
    options = [line.split()[1] for line in text.splitlines() if line.startswith("#SBATCH ")]
    assert {"--requeue", "--open-mode=append"} <= set(options), (script, options)
    signals = [option for option in options if option.startswith("--signal")]
    assert signals == ["--signal=SIGUSR1@90"], (script, signals)
    if script.stem == "mnist_ddp":
        assert "writes no checkpoints" in text, script
    else:
        assert f"sbatch sbatch/{script.name}" in text and "--ckpt_path last" in text, script
    starts = [line for line in text.splitlines() if line.startswith("srun ")]
    assert len(starts) == 1 and "--kill-on-bad-exit=1" in starts[0].split(), (script, starts)


@pytest.fixture
def folder(tmp_path):
    """Has the programs that stand in."""
    (tmp_path / "bin").mkdir()
    for program in ("bert_squad", "mnist_ddp", "sample_li"):
        (tmp_path / "bin" / program).write_text(STAND_IN)
        (tmp_path / "bin" / program).chmod(0o755)
    return tmp_path


@each_script
def test_tasks_and_command_lines(script, cluster, folder):
    alone = script.stem == "bert_squad_baseline"
    world = 1 if alone else 4
    found, ranks, command = submit(cluster, folder, script, "--one", "two words")
    assert found["Requeue"] == "1"
    assert len(ranks) == world and all(rank["cluster"] == "slurm" for rank in ranks)
    assert sorted(rank["device"] for rank in ranks) == ([0] if alone else [0, 0, 1, 1]), ranks
    assert command.endswith("--one two words"), command

    _, ranks, command = submit(cluster, folder, script, SBATCH_GRES="none")
    assert len(ranks) == world and all(rank["device"] == 0 for rank in ranks)
    if script.stem == "mnist_ddp":
        return
    sizes = "--trainer.num_nodes 1 --trainer.devices 1" if alone else (
        "--trainer.num_nodes 2 --trainer.devices 2")
    assert "--trainer.accelerator cpu" in command and sizes in command, command


def test_arguments_and_variables(cluster, folder):
    distributed = support.ROOT / "sbatch/bert_squad_distributed.sbatch"
    _, _, command = submit(cluster, folder, distributed, "fsdp", "--ckpt_path", "last",
                           CONFIG="other.yaml")
    assert "--trainer.strategy fsdp" in command and "--config other.yaml" in command, command
    assert command.endswith("--ckpt_path last"), command
