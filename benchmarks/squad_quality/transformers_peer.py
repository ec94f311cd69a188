"""Fine-tunes MiniLM with transformers on SQuAD articles and scores it on held-out ones.

Trains on the answerable questions of the articles before the last --val_articles, scores the
answerable questions of the rest, and prints one JSON line with the result. A training window that
does not hold the whole answer is labelled with token 0 ([CLS]).

  python benchmarks/squad_quality/transformers_peer.py --data FILE --epochs 3 --seed 1

With --split_out FOLDER it writes the two parts as train.json and val.json (the questions it uses,
nothing else) for another program to train on; with --epochs 0 it does only that.
"""

import argparse
import functools
import json
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import squad_common  # noqa: E402


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="SQuAD v1.1 or v2 JSON file")
    parser.add_argument("--model", default=None, help="Hugging Face folder (default: MiniLM)")
    parser.add_argument("--train_articles", type=int, default=None,
                        help="first articles to train on (default: all but the held-out ones)")
    parser.add_argument("--val_articles", type=int, default=3, help="last articles to score")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--weight_decay", type=float, default=0.01)
    parser.add_argument("--warmup_fraction", type=float, default=0.1)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--max_seq_length", type=int, default=384)
    parser.add_argument("--doc_stride", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit_questions", type=int, default=None, help="for a quick try")
    parser.add_argument("--split_out", default=None, help="folder for train.json and val.json")
    parser.add_argument("--save", default=None, help="folder for the fine-tuned model")
    return parser.parse_args()


def split(arguments):
    """Train and validation articles, answerable questions only."""
    articles = squad_common.read_articles(arguments.data)
    count = arguments.train_articles or len(articles) - arguments.val_articles
    if count < 1 or count + arguments.val_articles > len(articles):
        raise SystemExit(f"{arguments.data} has {len(articles)} articles, "
                         f"{count} + {arguments.val_articles} asked")
    return (squad_common.only_answerable(articles[:count]),
            squad_common.only_answerable(articles[-arguments.val_articles:]))


def train(model, features, arguments, autocast):
    import torch

    lengths = [len(f.ids) for f in features]
    steps_per_epoch = -(-len(features) // arguments.batch_size)
    total = steps_per_epoch * arguments.epochs
    warmup = max(1, round(arguments.warmup_fraction * total))
    optimizer = torch.optim.AdamW(
        squad_common.decay_groups(model, arguments.weight_decay),
        lr=arguments.learning_rate, fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warmup, max(0.0, (total - step) / max(1, total - warmup))),
    )
    model.train()
    begin, cpu_begin = time.perf_counter(), time.process_time()
    step = 0
    for epoch in range(arguments.epochs):
        epoch_loss = 0.0
        for rows in squad_common.length_grouped_batches(
            lengths, arguments.batch_size, arguments.seed, epoch
        ):
            with autocast():
                loss = model(**squad_common.collate([features[i] for i in rows])).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), arguments.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            epoch_loss += loss.item()
            step += 1
            if step in (5, 20) or step % 50 == 0:
                mean = (time.perf_counter() - begin) / step
                print(f"step {step}/{total} loss {loss.item():.3f} {mean:.2f} s a step, "
                      f"{mean * (total - step) / 60:.1f} min left", file=sys.stderr, flush=True)
        print(f"epoch {epoch} mean loss {epoch_loss / steps_per_epoch:.4f} "
              f"at {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    return step, time.perf_counter() - begin, time.process_time() - cpu_begin


def main():
    arguments = parse_arguments()
    train_articles, val_articles = split(arguments)
    if arguments.split_out:
        os.makedirs(arguments.split_out, exist_ok=True)
        squad_common.write_squad(os.path.join(arguments.split_out, "train.json"), train_articles)
        squad_common.write_squad(os.path.join(arguments.split_out, "val.json"), val_articles)
    if arguments.epochs == 0:
        return

    import torch
    import transformers

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    folder = arguments.model or squad_common.minilm_folder()
    tokenizer = squad_common.load_tokenizer(folder)
    train_questions = squad_common.answerable_questions(train_articles)[: arguments.limit_questions]
    val_questions = squad_common.answerable_questions(val_articles)[: arguments.limit_questions]
    shape = (tokenizer, arguments.max_seq_length, arguments.doc_stride)
    train_features = squad_common.question_first_features(train_questions, *shape, label=True)
    val_features = squad_common.question_first_features(val_questions, *shape, label=False)

    autocast = functools.partial(torch.autocast, "cpu", dtype=torch.bfloat16)
    model = transformers.BertForQuestionAnswering.from_pretrained(
        folder, dtype=torch.float32)
    steps, train_seconds, cpu_seconds = train(model, train_features, arguments, autocast)
    predictions = squad_common.predict_answers(
        model, val_questions, val_features, autocast=autocast)
    exact, f1 = squad_common.score(val_questions, predictions)
    if arguments.save:
        model.save_pretrained(arguments.save)
    print(json.dumps({
        "peer": f"transformers {transformers.__version__}", "seed": arguments.seed,
        "epochs": arguments.epochs, "steps": steps, "batch_size": arguments.batch_size,
        "train_questions": len(train_questions), "train_features": len(train_features),
        "val_questions": len(val_questions), "threads": arguments.threads,
        "train_seconds": round(train_seconds, 1),
        # The better figure on a busy machine, when there is one thread (more of them spin).
        "train_cpu_seconds": round(cpu_seconds, 1), "exact": round(exact, 2), "f1": round(f1, 2),
    }), flush=True)


if __name__ == "__main__":
    main()
