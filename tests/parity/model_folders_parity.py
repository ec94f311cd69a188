"""Model folders as transformers writes them, with tiny models: weights in one file and in several, each
activation that we take, half precision, and the names of models that others wrap. The logits must be
those of transformers.
"""

import json
import os
import shutil

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import support

support.needs_packages("safetensors", "torch", "transformers")

import safetensors.torch
import torch
import transformers
from transformers import AutoModelForQuestionAnswering, BertConfig, BertForQuestionAnswering

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
ours = support.Program("bert_dump")


def make_model(**settings):
    torch.manual_seed(1)
    return BertForQuestionAnswering(BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=24, initializer_range=0.5,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **settings)).eval()


def check(folder, model, tmp_path):
    torch.manual_seed(2)
    mask = torch.ones(3, 20, dtype=torch.int64)
    mask[1, 11:] = 0
    batch = {"input_ids": torch.randint(1, 50, (3, 20)), "attention_mask": mask,
             "token_type_ids": (torch.arange(20) > 7).long().repeat(3, 1),
             "start_positions": torch.tensor([1, 2, 3]), "end_positions": torch.tensor([4, 5, 6])}
    safetensors.torch.save_file(batch, tmp_path / "batch.safetensors")
    ours("gradients", folder, tmp_path / "batch.safetensors", tmp_path / "out.safetensors")
    mine = safetensors.torch.load_file(tmp_path / "out.safetensors")
    with torch.no_grad():
        theirs = model(**batch)
    for name, logits in (("start", theirs.start_logits), ("end", theirs.end_logits)):
        assert logits.std() > 0.1
        assert (mine[name] - logits).abs().max() < 1e-5 * max(1.0, logits.abs().max().item())


@pytest.mark.parametrize("activation", [
    "gelu", "gelu_python", "gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "relu"])
def test_activations(activation, tmp_path):
    model = make_model(hidden_act=activation)
    model.save_pretrained(tmp_path / "model")
    check(tmp_path / "model", model, tmp_path)


def test_shards(tmp_path):
    model = make_model()
    model.save_pretrained(tmp_path / "model", max_shard_size="20KB")
    assert len(list((tmp_path / "model").glob("*.safetensors"))) >= 3
    assert not (tmp_path / "model/model.safetensors").exists()
    check(tmp_path / "model", model, tmp_path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype, tmp_path):
    make_model().to(dtype).save_pretrained(tmp_path / "model")
    peer = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "model", dtype=torch.float32)
    check(tmp_path / "model", peer.eval(), tmp_path)


@pytest.mark.parametrize("prefix", ["model.", "module.", "module.model."])
def test_prefixes(prefix, tmp_path):
    model = make_model()
    model.save_pretrained(tmp_path / "model")
    file = tmp_path / "model/model.safetensors"
    tensors = {prefix + name: t for name, t in safetensors.torch.load_file(file).items()}
    safetensors.torch.save_file(tensors, file)
    check(tmp_path / "model", model, tmp_path)


def test_links_as_in_the_cache(tmp_path):
    """Hugging Face's cache has links to files with other names."""
    model = make_model()
    model.save_pretrained(tmp_path / "blobs", max_shard_size="20KB")
    (tmp_path / "model").mkdir()
    for i, path in enumerate(sorted((tmp_path / "blobs").iterdir())):
        shutil.move(path, tmp_path / f"blobs/{i}")
        (tmp_path / "model" / path.name).symlink_to(tmp_path / f"blobs/{i}")
    check(tmp_path / "model", model, tmp_path)


def test_the_hint_for_pickles_keeps_the_head(tmp_path):
    """The line of Python in the error, run as it stands."""
    model, folder = make_model(), tmp_path / "model"
    model.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    error = ours.fail("save", folder, tmp_path / "out").text
    start = error.index("AutoModelForQuestionAnswering.")
    line = error[start:error.index("safe_serialization=True)") + len("safe_serialization=True)")]
    eval(line)  # noqa: S307
    assert (folder / "model.safetensors").exists()
    assert json.loads((folder / "config.json").read_text())["architectures"] == [
        "BertForQuestionAnswering"]
    check(folder, model, tmp_path)
