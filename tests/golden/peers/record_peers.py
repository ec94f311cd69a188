"""Records trainings of Lightning for tests/integration/peers_test.py.

  .venv/bin/python tests/golden/peers/record_peers.py

Writes peers.txt beside this script, two lines a case: "CASE losses ..." (of all samples, after each
batch) and "CASE weights ...". One process trains on the global batches in float64: N ranks that
average the gradients of equal shards of these must come to the same. Made with lightning 2.6.6 and
torch 2.11.0.
"""

import pathlib
import warnings

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import (
    BackboneFinetuning, EMAWeightAveraging, StochasticWeightAveraging)
from lightning.pytorch.utilities import CombinedLoader

SAMPLES = 40
BATCH = 4


def samples(size, shift=0):
    rows = torch.arange(size, dtype=torch.float64) + shift
    return torch.stack([(3 * rows + j + 1).sin() for j in range(3)], 1), rows.cos().unsqueeze(1)


def loader(size=SAMPLES, shift=0):
    return torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*samples(size, shift)), batch_size=BATCH)


class Net(pl.LightningModule):
    def __init__(self, case):
        super().__init__()
        self.case = case
        self.backbone = torch.nn.Linear(3, 4)
        self.head = torch.nn.Linear(4, 1)
        self.double()
        with torch.no_grad():
            for i, parameter in enumerate(self.parameters(), start=1):
                values = torch.arange(parameter.numel(), dtype=torch.float64).add(i).sin()
                parameter.copy_(values.view_as(parameter))
        self.automatic_optimization = case != "gan"
        self.losses = []

    def loss(self, x, y):
        return (self.head(self.backbone(x).tanh()) - y).square().mean()

    def training_step(self, batch, batch_idx):
        if self.case == "gan":
            return self.alternate(*batch)
        if isinstance(batch, dict):
            return sum(self.loss(*part) for part in batch.values() if part is not None)
        return self.loss(*batch)

    def alternate(self, x, y):
        """The head learns y from what the backbone makes, which wants it to say 1. Gradients are
        forgotten after each step: without the toggles each would take the other's along."""
        backbone, head = self.optimizers()
        self.toggle_optimizer(head)
        self.manual_backward(self.loss(x, y))
        self.clip_gradients(head, gradient_clip_val=0.3)
        head.step()
        head.zero_grad()
        self.untoggle_optimizer(head)
        self.toggle_optimizer(backbone)
        self.manual_backward(self.loss(x, torch.ones_like(y)))
        backbone.step()
        backbone.zero_grad()
        self.untoggle_optimizer(backbone)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        with torch.no_grad():
            self.losses.append(self.loss(*samples(SAMPLES)).item())

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(*batch))

    def configure_optimizers(self):
        if self.case == "gan":
            return [torch.optim.Adam(self.backbone.parameters(), lr=0.01),
                    torch.optim.SGD(self.head.parameters(), lr=0.05, momentum=0.5)]
        trained = self.head if self.case == "finetuning" else self
        optimizer = torch.optim.SGD(trained.parameters(), lr=0.05, momentum=0.5)
        if self.case != "plateau":
            return optimizer
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.5, patience=0, threshold=0.05)
        return {"optimizer": optimizer,
                "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss"}}


CASES = {
    "accumulation": {"accumulate_grad_batches": 2, "max_epochs": 20},
    "clip_norm": {"gradient_clip_val": 0.2},
    "clip_value": {"gradient_clip_val": 0.05, "gradient_clip_algorithm": "value"},
    "gan": {},
    "plateau": {},
    "ema": {"callbacks": [EMAWeightAveraging(decay=0.9)]},
    "swa": {"callbacks": [StochasticWeightAveraging(
        swa_lrs=0.01, swa_epoch_start=0.5, annealing_epochs=4)]},
    "finetuning": {"callbacks": [BackboneFinetuning(unfreeze_backbone_at_epoch=3)]},
    "max_size_cycle": {},
    "min_size": {"max_epochs": 17},
    "max_size": {},
    "sequential": {},
}


def record(case, options):
    net = Net(case)
    train = loader()
    if case in ("max_size_cycle", "min_size", "max_size"):
        train = CombinedLoader({"a": train, "b": loader(24, 100)}, case)
    val = loader()
    if case == "sequential":  # of evaluations only
        return record_validation(net, CombinedLoader([val, loader(24, 100)], case))
    pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
               enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
               **{"max_epochs": 10, **options}).fit(net, train, val)
    weights = torch.cat([parameter.detach().flatten() for parameter in net.parameters()])
    return [("losses", net.losses), ("weights", weights.tolist())]


def record_validation(net, loaders):
    net.validation_step = lambda batch, batch_idx, dataloader_idx=0: net.log(
        "val_loss", net.loss(*batch))
    results = pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
                         enable_checkpointing=False).validate(net, loaders, verbose=False)
    return [("losses", [value for metrics in results for value in metrics.values()])]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    lines = [f"{case} {what} {' '.join(repr(value) for value in values)}\n"
             for case, options in CASES.items() for what, values in record(case, options)]
    (pathlib.Path(__file__).resolve().parent / "peers.txt").write_text("".join(lines))
