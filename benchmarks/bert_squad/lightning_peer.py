"""One training step of MiniLM on SQuAD text with Lightning and transformers, timed.

  python benchmarks/bert_squad/lightning_peer.py --data FILE                (the fast way)
  python benchmarks/bert_squad/lightning_peer.py --data FILE --mode seed    (the seed's way)

fast: windows of 384 (question first, stride 128), length-grouped batches padded to their longest,
      bf16-mixed, fused AdamW, weight decay, warmup, clip 1.0.
seed: one example per answer, context first, truncated to 512, every example padded to the longest
      of --longest_of (default: the data file), float32, torch.optim.AdamW as it comes.
Both: dropout 0.1, batch 8, CSV logger, progress bar, train_loss logged at every step.

Trains --epochs epochs over the file (or stops after --max_steps) and prints one JSON line. The
first epoch (or the first --warmup_steps steps, when given) is warm-up and not counted. The data set
and the batch rule (squad_common.length_grouped_batches) fix which questions share a batch;
--batches_out writes each counted batch's question ids and width.
"""

import argparse
import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import squad_common  # noqa: E402


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="SQuAD v1.1 or v2 JSON file")
    parser.add_argument("--model", default=None, help="Hugging Face folder (default: MiniLM)")
    parser.add_argument("--mode", choices=["fast", "seed"], default="fast")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--max_steps", type=int, default=-1)
    parser.add_argument("--warmup_steps", type=int, default=None, help="default: the first epoch")
    parser.add_argument("--batch_size", type=int, default=8, help="of each rank")
    parser.add_argument("--devices", type=int, default=1, help="processes of DDP, with --mode fast")
    parser.add_argument("--num_threads", type=int, default=2)
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    parser.add_argument("--longest_of", default=None, help="SQuAD file that sets the seed's width")
    parser.add_argument("--batches_out", default=None)
    parser.add_argument("--run_folder", default="build/benchmarks/bert_squad_peer")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


ARGUMENTS = parse_arguments()

import lightning.pytorch as pl  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from lightning.pytorch.loggers import CSVLogger  # noqa: E402


class QuestionAnswering(pl.LightningModule):
    def __init__(self, folder, fast, total_steps):
        super().__init__()
        self.model = transformers.BertForQuestionAnswering.from_pretrained(
            folder, dtype=torch.float32, attn_implementation=ARGUMENTS.attention)
        self.fast = fast
        self.total_steps = total_steps

    def training_step(self, batch, batch_idx):
        loss = self.model(**batch).loss
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def on_before_optimizer_step(self, optimizer):
        # Trainer(gradient_clip_val=...) refuses fused optimizers under mixed precision.
        if self.fast:
            torch.nn.utils.clip_grad_norm_(self.parameters(), 1.0)

    def configure_optimizers(self):
        if not self.fast:
            return torch.optim.AdamW(self.parameters(), lr=5e-5)
        optimizer = torch.optim.AdamW(
            squad_common.decay_groups(self, weight_decay=0.01), lr=5e-5, fused=True)
        warmup = max(1, self.total_steps // 10)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / warmup, max(
                0.0, (self.total_steps - step) / max(1, self.total_steps - warmup))))
        return {"optimizer": optimizer,
                "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class GroupedBatches:
    """A batch sampler by squad_common's rule, another order each epoch. With several ranks each one
    gets every n-th row of a global batch."""

    def __init__(self, lengths):
        self.lengths = lengths
        self.epoch = 0

    def batches(self, epoch):
        return squad_common.length_grouped_batches(
            self.lengths, ARGUMENTS.batch_size * ARGUMENTS.devices, ARGUMENTS.seed, epoch)

    def __len__(self):
        return -(-len(self.lengths) // (ARGUMENTS.batch_size * ARGUMENTS.devices))

    def __iter__(self):
        ranks = ARGUMENTS.devices
        rank = torch.distributed.get_rank() if ranks > 1 else 0
        for batch in self.batches(self.epoch):
            # No rank may have nothing.
            yield batch[rank::ranks] or batch[:1]
        self.epoch += 1


class StepClock(pl.Callback):
    """Notes the width and the end time of each step."""

    def __init__(self):
        self.begin = None
        self.ends = []
        self.widths = []
        self.rows = []

    def on_train_start(self, trainer, pl_module):
        self.begin = time.perf_counter()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.ends.append(time.perf_counter())
        self.widths.append(batch["input_ids"].shape[1])
        self.rows.append(batch["input_ids"].shape[0])

    def summary(self, warmup):
        steps = len(self.ends) - warmup
        if steps < 1:
            raise SystemExit(f"{len(self.ends)} steps with {warmup} of warm-up: nothing to time")
        begin = self.ends[warmup - 1] if warmup else self.begin
        seconds = (self.ends[-1] - begin) / steps
        tokens = sum(r * w for r, w in zip(self.rows[warmup:], self.widths[warmup:])) / steps
        return {"steps": steps, "seconds_per_step": round(seconds, 4),
                "padded_tokens_per_batch": round(tokens, 1),
                "tokens_per_second": round(tokens / seconds, 1),
                "mean_width": round(sum(self.widths[warmup:]) / steps, 1)}


def make_loader(questions, tokenizer):
    """(loader, features, sampler or None)"""
    if ARGUMENTS.mode == "fast":
        features = squad_common.question_first_features(questions, tokenizer, 384, 128, label=True)
        sampler = GroupedBatches([len(f.ids) for f in features])
        return torch.utils.data.DataLoader(
            features, batch_sampler=sampler, collate_fn=squad_common.collate), features, sampler
    features = squad_common.context_first_features(questions, tokenizer, 512)
    longest = features
    if ARGUMENTS.longest_of:
        longest = squad_common.context_first_features(squad_common.answerable_questions(
            squad_common.read_articles(ARGUMENTS.longest_of)), tokenizer, 512)
    width = max(len(f.ids) for f in longest)
    return torch.utils.data.DataLoader(
        features, batch_size=ARGUMENTS.batch_size, shuffle=True,
        collate_fn=lambda rows: squad_common.collate(rows, pad_to=width)), features, None


def write_batches(path, questions, features, sampler, warmup, steps):
    """One JSON line per counted batch: question ids and padded width."""
    batches = [b for epoch in range(ARGUMENTS.epochs) for b in sampler.batches(epoch)]
    with open(path, "w", encoding="utf-8") as file:
        for batch in batches[warmup : warmup + steps]:
            rows = [features[i] for i in batch]
            file.write(json.dumps({"ids": [questions[f.question_index].id for f in rows],
                                   "width": max(len(f.ids) for f in rows)}) + "\n")


def main():
    torch.set_num_threads(ARGUMENTS.num_threads)
    pl.seed_everything(ARGUMENTS.seed)
    fast = ARGUMENTS.mode == "fast"
    folder = ARGUMENTS.model or squad_common.minilm_folder()
    questions = squad_common.answerable_questions(squad_common.read_articles(ARGUMENTS.data))
    loader, features, sampler = make_loader(questions, squad_common.load_tokenizer(folder))
    total = len(loader) * ARGUMENTS.epochs
    if ARGUMENTS.max_steps > 0:
        total = min(total, ARGUMENTS.max_steps)
    warmup = len(loader) if ARGUMENTS.warmup_steps is None else ARGUMENTS.warmup_steps
    clock = StepClock()
    trainer = pl.Trainer(
        accelerator="cpu", devices=ARGUMENTS.devices,
        strategy="ddp" if ARGUMENTS.devices > 1 else "auto", use_distributed_sampler=False,
        max_epochs=ARGUMENTS.epochs, max_steps=ARGUMENTS.max_steps,
        precision="bf16-mixed" if fast else "32-true",
        logger=CSVLogger(ARGUMENTS.run_folder), callbacks=[clock], enable_checkpointing=False,
        log_every_n_steps=50)
    trainer.fit(QuestionAnswering(folder, fast, total), loader)
    if not trainer.is_global_zero:
        return
    result = clock.summary(warmup)
    if ARGUMENTS.batches_out and sampler:
        write_batches(ARGUMENTS.batches_out, questions, features, sampler, warmup, result["steps"])
    print("\n" + json.dumps({
        "peer": f"Lightning {pl.__version__}, transformers {transformers.__version__}",
        "mode": ARGUMENTS.mode, "attention": ARGUMENTS.attention,
        "batch_size": ARGUMENTS.batch_size, "devices": ARGUMENTS.devices,
        "threads": ARGUMENTS.num_threads, **result,
    }), flush=True)


if __name__ == "__main__":
    main()
