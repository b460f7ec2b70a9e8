# ruff: noqa: E501 - a recipe in few lines
"""A recipe that learns handwritten digits."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


DIGITS = ROOT / "data" / "digits"


RECIPE = f"""
task: classification
data:
  train:
    kind: idx
    images: {DIGITS}/train-images-idx3-ubyte
    labels: {DIGITS}/train-labels-idx1-ubyte
    classes: [zero, one, two, three, four, five, six, seven, eight, nine]
  validation: {{kind: fraction, fraction: 0.1}}
  test:
    kind: idx
    images: {DIGITS}/test-images-idx3-ubyte
    labels: {DIGITS}/test-labels-idx1-ubyte
  augmentation: {{rotate: 5, mixup: 0.1}}
  batch_size: 32
model: {{kind: cnn, blocks: [{{filters: 16, pool: max, dropout: 0.1}}], head: flatten, widths: [32]}}
training:
  max_steps: 60
  precision: fp32
  ema_decay: 0.9
  optimizer: {{kind: adam, learning_rate: 1e-2}}
  schedule: {{kind: constant}}
  validate_every_steps: 20
  stopping: {{metric: accuracy}}
"""
