"""sample_li as a newcomer runs it: MNIST's files gzipped or not, drawn digits, its precision, and
what its runs say about the machine. Every config of the project loads."""

import csv
import gzip
import json
import os
import pathlib
import platform
import re
import struct
import subprocess
import tempfile

import support
import torch

BIN = support.bin_dir().resolve()
SAMPLE = BIN / "sample_li"
IMAGES, BATCH = 40, 4


def run(*arguments, cwd=support.ROOT, program=SAMPLE):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True,
                          timeout=120, cwd=cwd)
    assert done.returncode == 0, (arguments, done.stderr[-3000:])
    return done


def fit(root, *arguments, cwd=support.ROOT):
    done = run("fit", "--seed_everything", 3, "--trainer.accelerator", "cpu",
               "--trainer.default_root_dir", root, "--trainer.max_epochs", 1,
               "--trainer.log_every_n_steps", 1, "--data.batch_size", BATCH, *arguments, cwd=cwd)
    return done.stderr


def run_dir(root):
    return root / "lightning_logs/version_0"


def losses(root):
    with open(run_dir(root) / "metrics.csv", newline="") as file:
        return [row["train_loss"] for row in csv.DictReader(file) if row["train_loss"]]


# ---- MNIST's files

def write_idx(folder, part, zipped_images, zipped_labels, seed):
    """Small noisy images; the header says how many, 28 rows and 28 columns."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (IMAGES * 28 * 28,), generator=generator, dtype=torch.uint8)
    images = struct.pack(">iiii", 0x803, IMAGES, 28, 28) + pixels.numpy().tobytes()
    labels = struct.pack(">ii", 0x801, IMAGES) + bytes(i % 10 for i in range(IMAGES))
    folder.mkdir(parents=True)
    for name, content, zipped in ((f"{part}-images-idx3-ubyte", images, zipped_images),
                                  (f"{part}-labels-idx1-ubyte", labels, zipped_labels)):
        if zipped:
            (folder / (name + ".gz")).write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def check_idx_files(folder):
    seen = {}
    for name, part, zipped_images, zipped_labels, seed in (
            ("plain", "train", False, False, 1), ("zipped", "train", True, True, 1),
            ("mixed", "train", True, False, 1), ("t10k", "t10k", True, True, 1),
            ("other", "train", False, False, 2)):
        data = write_idx(folder / name / "data", part, zipped_images, zipped_labels, seed)
        text = fit(folder / name, "--data.data_dir", data)
        assert "digits drawn" not in text, text
        # A tenth of the images is held out for validation.
        assert " 9/9 " in text, text
        seen[name] = losses(folder / name)
        assert len(seen[name]) == 9
    assert seen["zipped"] == seen["mixed"] == seen["t10k"] == seen["plain"]
    assert seen["other"] != seen["plain"], "the images don't matter"


def check_drawn_digits(folder):
    text = fit(folder / "drawn", "--trainer.limit_train_batches", 3)
    assert "digits drawn by the program" in text, text
    assert len(losses(folder / "drawn")) == 3


def check_precision_16(folder):
    """On the CPU it becomes bf16-mixed, with one warning, as in Lightning."""
    few = ("--trainer.limit_train_batches", 3)
    text = fit(folder / "p16", "--trainer.precision", 16, *few)
    warnings = [line for line in text.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 1 and "16-mixed" in warnings[0] and "bf16-mixed" in warnings[0], text
    fit(folder / "bf16", "--trainer.precision", "bf16-mixed", *few)
    fit(folder / "p32", *few)
    assert losses(folder / "p16") == losses(folder / "bf16") != losses(folder / "p32")


# ---- environment.json

def git(folder, *arguments):
    return subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments],
                          cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def environment(root, cwd):
    fit(root, "--trainer.limit_train_batches", 1, cwd=cwd)
    return json.loads((run_dir(root) / "environment.json").read_text())


def check_environment(folder):
    work = folder / "work"
    work.mkdir()
    git(work, "init", "-q")
    (work / "file").write_text("1")
    git(work, "add", "file")
    git(work, "commit", "-q", "-m", "first")
    found = environment(folder / "clean", work)
    version = re.search(r"project\(\s*lightning\s+VERSION\s+([\d.]+)",
                        (support.ROOT / "CMakeLists.txt").read_text(), re.IGNORECASE).group(1)
    processors = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo")
                  if line.startswith("model name")]
    expected = {
        "lightning_version": version,
        "torch_version": torch.__version__.split("+")[0],
        "git_commit": git(work, "rev-parse", "HEAD"),
        "git_dirty": False,
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor_capability": torch.backends.cpu.get_cpu_capability(),
        "processor_threads": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "world_size": 1,
    }
    if processors:
        expected.update(processor=processors[0])
    wrong = {key: (found.get(key), value) for key, value in expected.items()
             if found.get(key) != value}
    assert not wrong, f"(found, expected): {wrong}"
    assert re.match(r"\d+\.\d+", found["compiler"]) and found["device"], found

    (work / "file").write_text("2")
    assert environment(folder / "dirty", work)["git_dirty"] is True
    outside = environment(folder / "outside", folder)
    assert outside["git_commit"] == "" and outside["git_dirty"] is False, outside


# ---- configs/

def check_configs():
    configs = sorted((support.ROOT / "configs").rglob("*.yaml"))
    assert len(configs) >= 4
    for config in configs:
        name = config.parent.name if config.parent.name != "configs" else config.stem
        program = BIN / name
        if not program.exists() and name == "bert_squad":
            continue  # not built here
        printed = run("fit", "--config", config, "--print_config", program=program).stdout
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(printed)
            file.flush()
            again = run("fit", "--config", file.name, "--print_config", program=program).stdout
        assert again == printed, config
        for line in config.read_text().splitlines():  # what it says is what comes out
            setting = re.fullmatch(r"  (max_epochs|batch_size): (\d+)", line)
            assert not setting or re.search(rf"^  {setting[1]}: {setting[2]}\b", printed, re.M), (
                config, line, printed)


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        check_idx_files(folder)
        check_drawn_digits(folder)
        check_precision_16(folder)
        check_environment(folder)
    check_configs()
    print("sample_li: ok")


if __name__ == "__main__":
    main()
