"""The BERT example against transformers, in float32 on real text with padding: logits, loss and each
gradient tensor; weights in F16 and BF16, old names, names without prefix, saving; the losses of 30
steps and the weights after them, ours by a Trainer with the example's SquadModule: loader,
optimizer, groups, schedule, clipping.

Both sides load the same files: the MiniLM weights of the pinned package and a seeded head.
"""

import json
import pathlib
import shutil
import sys

import pytest
import support
from support import ROOT

support.needs_packages("safetensors", "torch", "transformers")
MINILM = support.minilm_folder()

sys.path.insert(0, str(ROOT / "benchmarks"))

import safetensors.torch
import squad_common
import torch
import transformers

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def make_model_folder(folder, rename=lambda name: name, dtype=torch.float32, head=True,
                      extra=False):
    """MiniLM with a seeded head and no dropout; returns its tensors as transformers names them.

    extra: also the tensors that question answering has no use for.
    """
    source = MINILM
    tensors = safetensors.torch.load_file(source / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    config.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(source / name, folder)
    named = {
        "bert." + name: tensor.to(dtype)
        for name, tensor in tensors.items()
        if not name.startswith("pooler.") and not name.endswith("position_ids")
    }
    generator = torch.Generator().manual_seed(7)
    if head:
        weight = torch.randn(2, config["hidden_size"], generator=generator) * 0.02
        named["qa_outputs.weight"] = weight.to(dtype)
        named["qa_outputs.bias"] = torch.tensor([0.01, -0.02]).to(dtype)
    unused = {name: tensors[name] for name in tensors if extra and "bert." + name not in named}
    safetensors.torch.save_file(
        {rename(name): tensor.contiguous() for name, tensor in {**named, **unused}.items()},
        folder / "model.safetensors", metadata={"format": "pt"})
    return named


def load_peer(folder):
    """A float32 model without dropout; fails when a name is missing or unexpected."""
    model, info = transformers.BertForQuestionAnswering.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True)
    problems = {key: list(value) for key, value in info.items() if value}
    assert not problems, f"transformers reports {problems}"
    return model.eval()


def make_batches(count, batch_size, max_length):
    """Questions of the bundled data set, in an order that mixes lengths."""
    articles = squad_common.read_articles(ROOT / "examples/bert_squad/data/train.json")
    questions = squad_common.answerable_questions(articles)
    tokenizer = squad_common.load_tokenizer(MINILM)
    features = squad_common.question_first_features(questions, tokenizer, max_length, 32,
                                                    label=True)
    step = len(features) // (count * batch_size)
    features = features[:: max(1, step)]
    return [
        squad_common.collate(features[i * batch_size : (i + 1) * batch_size]) for i in range(count)
    ]


ours = support.Program("bert_dump")


def check(what, value, bound):
    print(f"{what}: {value:.3g} (at most {bound:.3g})")
    assert value <= bound, what


def compare_outputs(folder, scratch):
    model = load_peer(folder)
    batch = make_batches(1, 6, 160)[0]
    # A position beyond the tokens is left out of the loss.
    batch["end_positions"][1] = 1000
    padding = int((batch["attention_mask"] == 0).sum())
    assert padding > 20, "the batch must have padding"
    safetensors.torch.save_file(batch, scratch / "batch.safetensors")
    ours("gradients", folder, scratch / "batch.safetensors", scratch / "out.safetensors")
    mine = safetensors.torch.load_file(scratch / "out.safetensors")

    output = model(**batch)
    output.loss.backward()
    for name, logits in (("start", output.start_logits), ("end", output.end_logits)):
        bound = 1e-5 * max(1.0, logits.abs().max().item())
        check(f"{name} logits (with padding)", (mine[name] - logits).abs().max().item(),
              bound)
    check("loss", abs(mine["loss"].item() - output.loss.item()), 1e-5)
    grads = {name: parameter.grad for name, parameter in model.named_parameters()}
    norm = torch.sqrt(sum(grad.double().square().sum() for grad in grads.values())).item()
    assert len(mine) == len(grads) + 3, "as many gradients as parameters"
    worst = max(
        (mine["grad." + name] - grad).abs().max().item()
        / (1e-4 * grad.abs().max().item() + 1e-7 * norm)
        for name, grad in grads.items()
    )
    check(f"worst of {len(grads)} gradients in parts of its bound", worst, 1.0)
    padding_row = mine["grad.bert.embeddings.word_embeddings.weight"][0]
    assert padding_row.abs().max() == 0, "the padding token has no gradient"


def test_outputs(tmp_path):
    make_model_folder(tmp_path / "model")
    compare_outputs(tmp_path / "model", tmp_path)


def old_name(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
        "LayerNorm.bias", "LayerNorm.beta")


def without_prefix(name):
    return name.removeprefix("bert.")


KINDS = {
    "F16": dict(dtype=torch.float16),
    "BF16": dict(dtype=torch.bfloat16),
    "gamma-beta": dict(rename=old_name),
    "no-prefix": dict(rename=without_prefix),
    "old-no-prefix": dict(rename=lambda name: old_name(without_prefix(name))),
    "headless": dict(head=False, rename=without_prefix),
}


@pytest.mark.parametrize("kind", KINDS)
def test_files(kind, tmp_path):
    folder, saved_folder = tmp_path / kind, tmp_path / "saved"
    expected = make_model_folder(folder, extra=True, **KINDS[kind])
    lines = ours("save", folder, saved_folder).stdout.splitlines()
    saved = load_peer(saved_folder).state_dict()
    assert "ignored pooler.dense.weight" in lines, lines
    initialised = [line for line in lines if line.startswith("initialised ")]
    if kind == "headless":
        assert initialised == ["initialised qa_outputs.weight", "initialised qa_outputs.bias"]
        head = saved["qa_outputs.weight"]
        assert 0.018 < head.std().item() < 0.022 and abs(head.mean().item()) < 0.003
        assert saved["qa_outputs.bias"].abs().max() == 0
    else:
        assert not initialised, initialised
    assert len([line for line in lines if line.startswith("loaded ")]) == len(expected)
    for name, tensor in expected.items():
        assert torch.equal(saved[name], tensor.float()), name
    if kind == "F16":
        compare_outputs(saved_folder, tmp_path)


def test_training(tmp_path):
    folder = tmp_path / "model"
    make_model_folder(folder)
    batches = make_batches(30, 4, 128)
    safetensors.torch.save_file(
        {f"{i}.{name}": tensor for i, batch in enumerate(batches)
         for name, tensor in batch.items()}, tmp_path / "batches.safetensors")
    ours("train", folder, tmp_path / "batches.safetensors", tmp_path / "losses.safetensors")
    mine = safetensors.torch.load_file(tmp_path / "losses.safetensors")["losses"].tolist()

    torch.set_num_threads(2)
    model = load_peer(folder).train()
    optimizer = torch.optim.AdamW(
        squad_common.decay_groups(model, weight_decay=0.01), lr=5e-5, fused=True)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 3, 30)
    losses, norms = [], []
    for batch in batches:
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    assert len(mine) == len(losses) == 30
    assert max(norms) > 1.0, "clipping must have something to do"
    print(f"losses {losses[0]:.4f} ... {losses[-1]:.4f}, {sum(losses[-5:]) / 5:.4f} at the end")
    check("largest relative difference of a loss",
          max(abs(a - b) / abs(b) for a, b in zip(mine, losses)), 1e-4)

    trained = load_peer(pathlib.Path(str(tmp_path / "losses.safetensors") + ".model")).state_dict()
    start = safetensors.torch.load_file(folder / "model.safetensors")
    difference = moved = 0.0
    for name, tensor in model.state_dict().items():
        if name.endswith(("key.bias", "qa_outputs.bias")):
            continue  # gradients that are zero in theory: Adam scales their rounding
        difference += (trained[name] - tensor).double().square().sum().item()
        moved += (tensor - start[name]).double().square().sum().item()
    check("difference of the trained weights in parts of their way", (difference / moved) ** 0.5,
          0.02)
