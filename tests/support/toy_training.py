"""A tiny learning problem with a tiny model, to train without any of the real ones."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqtrans.protocols import LossSums
from seqtrans.training.checkpoints.run_directory import RunDirectory, create, open_run
from seqtrans.training.config import TrainingConfig
from seqtrans.training.distributed.single_process import SINGLE_PROCESS
from seqtrans.training.optim.optimizer import SgdConfig
from seqtrans.training.optim.schedule import ConstantConfig
from seqtrans.training.reporting.loggers import JsonLinesLogger
from seqtrans.training.stopping import StoppingConfig
from seqtrans.training.trainer import Trainer

VOCAB = 9


@dataclass(frozen=True)
class ToyBatch:
    token: Tensor  # (B, T)
    label: Tensor  # (B,)

    @property
    def num_targets(self):
        return len(self.label)

    @property
    def num_padded(self):
        return 0

    @property
    def size(self):
        return self.token.numel()

    def halves(self):
        if len(self.label) < 2:
            return (self,)
        halves = zip(self.token.tensor_split(2), self.label.tensor_split(2), strict=True)
        return tuple(ToyBatch(token, label) for token, label in halves)

    def to(self, device):
        return ToyBatch(self.token.to(device), self.label.to(device))


class ToyModel(nn.Module):
    """Which of the tokens is the most frequent? A tied weight, a buffer and dropout included."""

    def __init__(self, dropout=0.0, dim=12):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, dim)
        self.hidden = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(dim, VOCAB)
        self.out.weight = self.embedding.weight
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)

    def forward(self, token: Tensor) -> Tensor:
        if self.training:
            self.seen += len(token)
        x = self.dropout(self.embedding(token)).mean(1)
        return self.out(self.dropout(self.norm(torch.tanh(self.hidden(x)))))


@dataclass(frozen=True)
class ToyTask:
    """Uneven micro-batches, an order that depends on the epoch, a rank's share of it."""

    train: ToyBatch
    valid: ToyBatch
    batch_size: int = 8
    accumulate: int = 1
    validated: list[int] = field(default_factory=list)

    @property
    def unit(self):
        return "symbols"

    def updates(self, epoch, group, start=0) -> Iterator[Sequence[ToyBatch]]:
        order = torch.randperm(
            self.train.num_targets, generator=torch.Generator().manual_seed(epoch)
        )
        done = start // (self.accumulate * group.world_size)
        for rows in order.split(self.batch_size * self.accumulate)[done:]:
            yield [
                self.rows(r)
                for r in rows[group.rank :: group.world_size].tensor_split(self.accumulate)
            ]

    def updates_in(self, epochs) -> int:
        return epochs * -(-self.train.num_targets // (self.batch_size * self.accumulate))

    def rows(self, rows) -> ToyBatch:
        return ToyBatch(self.train.token[rows], self.train.label[rows])

    def loss_sums(self, model, batch) -> LossSums:
        logits = model(batch.token)
        nll = F.cross_entropy(logits, batch.label, reduction="sum")
        return LossSums(nll, {"nll": nll.detach()})

    def validate(self, model, group) -> Mapping[str, float]:
        logits = model(self.valid.token[group.rank :: group.world_size])
        label = self.valid.label[group.rank :: group.world_size]
        self.validated.append(len(label))
        nll = float(F.cross_entropy(logits, label, reduction="sum"))
        correct = float((logits.argmax(-1) == label).sum())
        nll, correct, count = group.sum([nll, correct, float(len(label))])
        return {"loss": nll / count, "accuracy": correct / count}

    @property
    def searches(self):
        return True  # calls are as many as there are

    def largest_batch(self) -> ToyBatch:
        return self.rows(torch.arange(self.batch_size))


def toy_task(dtype=torch.int64, **overrides) -> ToyTask:
    generator = torch.Generator().manual_seed(0)
    token = torch.randint(0, VOCAB, (96, 5), generator=generator).to(dtype)
    label = token.mode(dim=1).values
    batches = ToyBatch(token[:68], label[:68]), ToyBatch(token[68:], label[68:])
    return ToyTask(*batches, **overrides)


def toy_config(**overrides) -> TrainingConfig:
    defaults = {
        "max_steps": 12,
        "precision": "fp32",
        "clip_norm": None,
        "optimizer": SgdConfig(learning_rate=0.5),
        "schedule": ConstantConfig(),
        "stopping": StoppingConfig(metric="accuracy", patience=None),
        "log_every_steps": 4,
    }
    return TrainingConfig(**{**defaults, **overrides})


def toy_trainer(
    task=None, model=None, run=None, *, dropout=0.0, group=SINGLE_PROCESS, origins=None, **config
):
    torch.manual_seed(0)
    loggers = [JsonLinesLogger(run.metrics)] if run else []
    model = model or ToyModel(dropout)
    task = task or toy_task()
    chosen = toy_config(**config)
    return Trainer(task, model, chosen, run=run, loggers=loggers, group=group, origins=origins)


def toy_run(path: Path) -> RunDirectory:
    return open_run(path) if path.exists() else create(path, "toy: true\n")


def weights(trainer: Trainer) -> Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.raw_model.parameters()])


def all_state(trainer: Trainer) -> dict[str, Tensor]:
    """Everything that training goes on from, by name."""
    return {
        f"{stem}/{name}": tensor.clone()
        for stem, named in trainer.saving.tensors().items()
        for name, tensor in named.items()
    }


logging.getLogger("seqtrans").setLevel(logging.INFO)
