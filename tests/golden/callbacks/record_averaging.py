"""Records what Lightning's callbacks that average weights do, for tests/unit/callbacks/*averaging_test.cpp.

  .venv/bin/python tests/golden/callbacks/record_averaging.py

Writes beside this script averaging.txt (losses, rates and weights of 100 steps in float64, a line of
"case what values" each) and averaging_hooks_ema.txt, averaging_hooks_swa.txt (hooks in order; "*":
the module has other weights than after its latest step). Made with lightning 2.6.6 and torch 2.11.0.
"""

import pathlib
import warnings

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import (
    EMAWeightAveraging, StochasticWeightAveraging, WeightAveraging)

FOLDER = pathlib.Path(__file__).resolve().parent
SAMPLES = 20
BATCH = 4
EPOCHS = 20


def quiet_trainer(callbacks, **options):
    return pl.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=callbacks, **options)


def set_weights(module):
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters(), start=1):
            values = torch.arange(parameter.numel(), dtype=torch.float64).add(i).sin()
            parameter.copy_(values.view_as(parameter))


class Net(pl.LightningModule):
    def __init__(self, batch_norm, groups):
        super().__init__()
        self.first = torch.nn.Linear(3, 4)
        self.norm = torch.nn.BatchNorm1d(4) if batch_norm else None
        self.last = torch.nn.Linear(4, 1)
        self.groups = groups
        self.double()
        set_weights(self)
        self.losses, self.val_losses, self.rates = [], [], []

    def forward(self, x):
        x = self.first(x)
        if self.norm is not None:
            x = self.norm(x)
        return self.last(x.tanh()).squeeze(1)

    def training_step(self, batch, batch_idx):
        loss = (self(batch[0]) - batch[1]).square().mean()
        self.losses.append(loss.item())
        if batch_idx == 0:
            self.rates.append(self.trainer.optimizers[0].param_groups[-1]["lr"])
        return loss

    def validation_step(self, batch, batch_idx):
        self.val_losses.append((self(batch[0]) - batch[1]).square().mean().item())

    def configure_optimizers(self):
        parameters = list(self.parameters())
        if self.groups == 2:
            parameters = [{"params": parameters[:2]}, {"params": parameters[2:], "lr": 0.02}]
        optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.5)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.9)]


def record(case, callback, batch_norm=False, groups=1):
    rows = torch.arange(SAMPLES, dtype=torch.float64)
    x = torch.stack([(3 * rows + j + 1).sin() for j in range(3)], 1)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, rows.cos()), batch_size=BATCH)
    net = Net(batch_norm, groups)
    quiet_trainer([callback], max_epochs=EPOCHS, num_sanity_val_steps=0,
                  limit_val_batches=1).fit(net, loader, loader)
    state = {name: value for name, value in net.state_dict().items() if value.is_floating_point()}
    values = {
        "losses": net.losses,
        "val_losses": net.val_losses,
        "rates": net.rates,
        "weights": torch.cat([value.flatten() for value in state.values()]).tolist(),
    }
    return "".join(f"{case} {what} {' '.join(repr(value) for value in numbers)}\n"
                   for what, numbers in values.items())


MODULE_HOOKS = [
    "on_fit_start", "on_fit_end", "on_train_start", "on_train_end", "on_train_epoch_start",
    "on_train_epoch_end", "on_train_batch_start", "on_train_batch_end", "training_step",
    "on_before_zero_grad", "on_before_backward", "on_before_optimizer_step",
    "on_validation_model_eval", "on_validation_start", "on_validation_epoch_start",
    "validation_step", "on_validation_epoch_end", "on_validation_end", "on_validation_model_train",
]
CALLBACK_HOOKS = [
    name for name in MODULE_HOOKS
    if not name.endswith("_step") or name == "on_before_optimizer_step"
    if "model" not in name
] + ["on_sanity_check_start", "on_sanity_check_end"]


class Small(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.norm = torch.nn.BatchNorm1d(2)

    def forward(self, x):
        return self.norm(self.layer(x)).square().sum()

    def training_step(self, batch, batch_idx):
        return (self(batch) - 1).square()

    def validation_step(self, batch, batch_idx):
        self(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def record_hooks(file_name, callback):
    calls = []
    trained = None

    def weights():
        return module.layer.weight.detach().clone()

    def recording(base, prefix, names):
        def make(name):
            inherited = getattr(base, name)

            def hook(self, *args, **kwargs):
                nonlocal trained
                if prefix == "CB" and name in ("on_fit_start", "on_train_batch_end"):
                    trained = weights()
                mark = " *" if trained is not None and not torch.equal(trained, weights()) else ""
                calls.append(f"{prefix}.{name}{mark}")
                return inherited(self, *args, **kwargs)

            return hook

        return type("Recording" + base.__name__, (base,), {name: make(name) for name in names})

    torch.manual_seed(1)
    module = recording(Small, "LM", MODULE_HOOKS)()
    watcher = recording(pl.Callback, "CB", CALLBACK_HOOKS)()
    loader = torch.utils.data.DataLoader(
        torch.randn((4, 2), generator=torch.Generator().manual_seed(7)), batch_size=2)
    quiet_trainer([callback, watcher], max_epochs=2, limit_val_batches=1,
                  num_sanity_val_steps=1).fit(module, loader, loader)
    (FOLDER / file_name).write_text("\n".join(calls) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    text = record("ema", EMAWeightAveraging(decay=0.9))
    text += record("ema_late", EMAWeightAveraging(
        decay=0.8, update_every_n_steps=3, update_starting_at_step=8, update_starting_at_epoch=15))
    text += record("ema_batch_norm", EMAWeightAveraging(decay=0.9), batch_norm=True)
    text += record("ema_own_buffers", EMAWeightAveraging(decay=0.9, use_buffers=False),
                   batch_norm=True)
    text += record("mean", WeightAveraging())
    text += record("swa_cos", StochasticWeightAveraging(0.01, 0.5, 4, "cos"), groups=2)
    text += record("swa_linear", StochasticWeightAveraging(
        [0.03, 0.01], 12, 20, "linear"), groups=2)
    text += record("swa_at_once", StochasticWeightAveraging(0.01, 20, 0), batch_norm=True)
    text += record("swa_batch_norm", StochasticWeightAveraging(0.01, 0.8, 2), batch_norm=True)
    (FOLDER / "averaging.txt").write_text(text)
    record_hooks("averaging_hooks_ema.txt", EMAWeightAveraging(decay=0.5))
    record_hooks("averaging_hooks_swa.txt", StochasticWeightAveraging(0.01, 1, 2))
