"""sample_li's autoencoder trained with Python's Lightning, timed.

784-64-3-64-784 autoencoder, Adam 1e-3, batch 32, CPU; train_loss logged at every step, CSV logger,
progress bar. Data: IDX files in --data (gzipped or not), else random images. They are held in
memory as a TensorDataset, which is cheaper than torchvision's one PIL image at a time.

  python benchmarks/sample_li/lightning_peer.py --steps 3000
  python benchmarks/sample_li/lightning_peer.py --steps 1       (start to first step)
  python benchmarks/sample_li/lightning_peer.py --devices 2     (DDP, --batch_size on each rank)

Prints one JSON line: steps per second after --warmup steps, and the seconds from the start of the
process to the end of the first training step. With --devices the numbers are those of rank 0, which
starts the others.
"""

import argparse
import gzip
import json
import os
import pathlib
import struct
import time


def seconds_since_process_start():
    """Wall time since the kernel started this process, imports included."""
    fields = pathlib.Path("/proc/self/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # seconds after boot
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default=None, help="folder with IDX image files")
    parser.add_argument("--samples", type=int, default=55000, help="images to train on, at most")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--warmup", type=int, default=500)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--devices", type=int, default=1, help="processes of DDP")
    parser.add_argument("--num_threads", type=int, default=1)
    parser.add_argument("--fused", action="store_true", help="Adam(fused=True), not the default")
    parser.add_argument("--run_folder", default="build/benchmarks/sample_li_peer")
    return parser.parse_args()


ARGUMENTS = parse_arguments()

import lightning.pytorch as pl  # noqa: E402
import torch  # noqa: E402
from lightning.pytorch.loggers import CSVLogger  # noqa: E402
from torch import nn  # noqa: E402


class LitAutoEncoder(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 3))
        self.decoder = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 784))

    def training_step(self, batch, batch_idx):
        images, _ = batch
        images = images.view(images.size(0), -1)
        loss = nn.functional.mse_loss(self.decoder(self.encoder(images)), images)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3, fused=ARGUMENTS.fused or None)


class StepClock(pl.Callback):
    def __init__(self):
        self.to_first_step = None
        self.warm = None
        self.end = None

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if self.to_first_step is None:
            self.to_first_step = seconds_since_process_start()
        if trainer.global_step == ARGUMENTS.warmup:
            self.warm = time.perf_counter()
        self.end = time.perf_counter()


def read_images(folder):
    """float32 (n, 1, 28, 28) in 0..1 of the training file, else of the test file."""
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"):
        for path in (pathlib.Path(folder, name), pathlib.Path(folder, name + ".gz")):
            if path.exists():
                data = path.read_bytes()
                data = gzip.decompress(data) if path.suffix == ".gz" else data
                _, count, rows, columns = struct.unpack(">iiii", data[:16])
                pixels = torch.frombuffer(bytearray(data[16:]), dtype=torch.uint8)
                return pixels.view(count, 1, rows, columns).float() / 255
    raise SystemExit(f"{folder}: no train-images-idx3-ubyte or t10k-images-idx3-ubyte")


def main():
    torch.set_num_threads(ARGUMENTS.num_threads)
    pl.seed_everything(1)
    images = read_images(ARGUMENTS.data) if ARGUMENTS.data else torch.rand(
        ARGUMENTS.samples, 1, 28, 28)
    images = images[: ARGUMENTS.samples]
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images, torch.zeros(len(images), dtype=torch.int64)),
        batch_size=ARGUMENTS.batch_size, shuffle=True)
    clock = StepClock()
    trainer = pl.Trainer(
        accelerator="cpu", devices=ARGUMENTS.devices,
        strategy="ddp" if ARGUMENTS.devices > 1 else "auto", max_steps=ARGUMENTS.steps,
        max_epochs=-1, logger=CSVLogger(ARGUMENTS.run_folder), callbacks=[clock],
        enable_checkpointing=False)
    trainer.fit(LitAutoEncoder(), loader)
    result = {"peer": f"Lightning {pl.__version__}", "steps": ARGUMENTS.steps,
              "samples": len(images), "seconds_to_first_step": round(clock.to_first_step, 3)}
    if clock.warm is not None and ARGUMENTS.steps > ARGUMENTS.warmup:
        rate = (ARGUMENTS.steps - ARGUMENTS.warmup) / (clock.end - clock.warm)
        result["steps_per_second"] = round(rate, 2)
    if trainer.is_global_zero:
        print("\n" + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
