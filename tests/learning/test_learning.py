"""Whole runs that must learn: digits reversed by a Transformer, copied and sorted by LSTMs.

As in Sockeye's system tests, a threshold on perplexity and on the score of real decoding; what
translates is the stored run, loaded anew.
"""

import itertools

import pytest

import seqtrans
from seqtrans.cli import main
from seqtrans.translation.data.synthetic import synthetic_pairs

RECIPE = """
data:
  train: [{{source: train.src, target: train.tgt}}]
  validation: [{{source: dev.src, target: dev.tgt}}]
  segmentation: {{kind: words}}
  batch_tokens: 400
model: {model}
label_smoothing: 0.0
training:
  max_steps: {steps}
  validate_every_steps: {steps}
  precision: fp32
  optimizer: {{kind: adam, learning_rate: {rate}}}
  schedule: {{kind: linear, warmup_steps: 40}}
  stopping: {{metric: perplexity}}
validation: {{metrics: [bleu]}}
"""
TRANSFORMER = (
    "{kind: transformer, num_layers: 2, model_dim: 32, num_heads: 4, ffn_dim: 64, "
    "dropout: 0.0, embedding_dropout: 0.0}"
)
LSTM = "{kind: recurrent, hidden_dim: 48, dropout: 0.0}"
FED = "{kind: recurrent, hidden_dim: 48, dropout: 0.0, input_feeding: true, attention: general}"


def write(folder, name, pairs):
    pairs = list(pairs)
    for ending, side in (("src", 0), ("tgt", 1)):
        text = "".join(f"{pair[side]}\n" for pair in pairs)
        (folder / f"{name}.{ending}").write_text(text)
    return pairs


@pytest.mark.parametrize(
    ("rule", "encoder", "decoder", "steps", "rate"),
    [
        ("copy", LSTM, LSTM, 120, 8e-3),
        ("sort", LSTM, FED, 160, 8e-3),
        ("reverse", TRANSFORMER, TRANSFORMER, 300, 4e-3),
        ("sort", TRANSFORMER, LSTM, 160, 8e-3),
    ],
    ids=["copy-lstm", "sort-lstm-input-feeding", "reverse-transformer", "sort-mixed"],
)
def test_digits(tmp_path, monkeypatch, rule, encoder, decoder, steps, rate):
    monkeypatch.chdir(tmp_path)
    made = synthetic_pairs(rule, 3100, seed=1, max_tokens=5)
    write(tmp_path, "train", itertools.islice(made, 3000))
    held_out = write(tmp_path, "dev", made)
    model = f"{{encoder: {encoder}, decoder: {decoder}}}"
    (tmp_path / "toy.yaml").write_text(RECIPE.format(model=model, steps=steps, rate=rate))
    assert main(["train", "toy.yaml", "--run", "run"]) == 0
    found = seqtrans.load("run").translate([source for source, _ in held_out])
    right = sum(a == b for a, (_, b) in zip(found, held_out, strict=True))
    assert right >= 0.9 * len(held_out), f"{right} of {len(held_out)} are right"
