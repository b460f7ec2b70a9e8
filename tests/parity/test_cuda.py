"""What a GPU computes is what a CPU does; run where there is one."""

import multiprocessing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import seqtrans
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.mlp import Mlp, MlpConfig
from seqtrans.training.config import TrainingConfig
from seqtrans.training.optim.optimizer import SgdConfig
from seqtrans.training.optim.schedule import ConstantConfig
from seqtrans.training.stopping import StoppingConfig
from seqtrans.training.trainer import Trainer
from seqtrans.translation.data.batch import collate_sources
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.models.recurrent_decoder_config import RecurrentDecoderConfig
from seqtrans.translation.models.transformer import TransformerEncoderConfig
from seqtrans.translation.search.build import build_search
from seqtrans.translation.search.config import BeamConfig
from tests.support.gpus import GPU, RECIPE, on_gpu, prepared, train
from tests.support.memory_shortage import Wide
from tests.support.searches import inputs_of
from tests.support.tiny_tasks import OfDoubles, classification, translation_task
from tests.support.toy_training import VOCAB, ToyBatch, ToyTask, toy_trainer

DATA = Path(__file__).parents[2] / "data" / "digits"
spawned = multiprocessing.get_context("spawn")  # a fork of a process with CUDA has none


def learner(kind, folder):
    """Task and model without dropout, which devices draw each in their own way."""
    torch.manual_seed(0)
    if kind == "images":
        return classification(), OfDoubles(Mlp(MlpConfig(widths=(16,)), ImageShape(3, 6, 5), 4))
    task = translation_task(folder, sampled=False)
    none = {"dropout": 0.0}
    encoder = TransformerEncoderConfig(
        num_layers=2, model_dim=16, num_heads=2, ffn_dim=32, embedding_dropout=0.0, **none
    )
    decoder = RecurrentDecoderConfig(hidden_dim=16, num_layers=1, **none)
    sizes = (len(segmenter.pieces) for segmenter in task.segmenters)
    return task, EncoderDecoder(ModelConfig(encoder=encoder, decoder=decoder), *sizes)


def trained(kind, folder, device, dtype, precision):
    """Weights after some updates, on the CPU, and what validation then measures."""
    folder.mkdir()
    task, model = learner(kind, folder)
    config = TrainingConfig(
        max_steps=4,
        precision=precision,
        clip_norm=0.5,
        ema_decay=0.9,
        optimizer=SgdConfig(learning_rate=0.1, momentum=0.9),
        schedule=ConstantConfig(),
        validate_every_steps=4,
        stopping=StoppingConfig(metric="loss"),
    )
    trainer = Trainer(task, model.to(device, dtype), config)
    assert trainer.updater.bf16 is (precision == "bf16")
    trainer.fit()
    weights = {name: p.detach().cpu() for name, p in model.named_parameters()}
    return weights, trainer.validate()


@on_gpu
@pytest.mark.parametrize("kind", ["translation", "images"])
def test_training_on_a_gpu_is_training_on_a_cpu(kind, tmp_path):
    exactly = (torch.float64, "fp32")  # no autocast: all stays in fp64
    weights, metrics = trained(kind, tmp_path / "cpu", "cpu", *exactly)
    found, measured = trained(kind, tmp_path / "gpu", GPU, *exactly)
    torch.testing.assert_close(found, weights, rtol=1e-9, atol=1e-9)
    assert measured == pytest.approx(metrics, rel=1e-5)  # images are judged in fp32


@on_gpu
def test_in_bf16_weights_stay_in_fp32_and_go_nearly_the_same_way(tmp_path):
    weights, metrics = trained("translation", tmp_path / "fp32", GPU, torch.float32, "fp32")
    rounded, measured = trained("translation", tmp_path / "bf16", GPU, torch.float32, "bf16")
    assert {weight.dtype for weight in rounded.values()} == {torch.float32}
    assert any(not torch.equal(rounded[name], weight) for name, weight in weights.items())
    torch.testing.assert_close(rounded, weights, rtol=0.0, atol=2e-2)
    assert measured == pytest.approx(metrics, rel=2e-2)


@pytest.fixture
def folder(tmp_path):
    return prepared(tmp_path)


@on_gpu
def test_a_gpu_translates_as_a_cpu_does(folder):
    assert f"on {GPU}" in train(folder, "--run", "run")
    lines = (folder / "dev.src").read_text().splitlines()
    gpu, cpu = (
        list(seqtrans.load(folder / "run", device=device, precision="fp32").stream(lines))
        for device in (GPU, "cpu")
    )
    assert [one.text for one in gpu] == [one.text for one in cpu]
    assert [one.score for one in gpu] == pytest.approx([one.score for one in cpu], rel=1e-3)


@on_gpu
@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_search_ends_when_all_sentences_do(beam_size, tmp_path):
    """However many do in the same step: a mean of so many ones need not be one on a GPU."""
    task, model = learner("translation", tmp_path)
    specials, target = task.segmenters.source.specials, task.segmenters.target
    search = build_search(BeamConfig(beam_size=beam_size, max_length=4), target)
    model = model.to(GPU).eval()
    for count in range(1, 70):
        sources = [[4, 5, 6]] * count
        source = collate_sources(sources, specials).to(GPU)
        found = search(model, source, inputs_of(sources))
        assert [len(hypotheses) for hypotheses in found] == [1] * count


DIGITS = f"""
task: classification
data:
  train:
    kind: idx
    images: {DATA}/train-images-idx3-ubyte
    labels: {DATA}/train-labels-idx1-ubyte
  validation: {{kind: fraction, fraction: 0.1}}
  augmentation: {{rotate: 5, mixup: 0.1}}
  batch_size: 32
model: MODEL
training: {{max_steps: 40, stopping: {{metric: loss}}, schedule: {{kind: constant}}}}
"""
LARGER = DIGITS.replace("batch_size:", "resize: {height: 40, width: 40}\n  batch_size:")
HALF = "{kind: transformer, num_layers: 2, model_dim: 64, num_heads: 4, ffn_dim: 128, dropout: 0.1}"
FAMILIES = {
    "lstm": RECIPE.replace("dropout: 0.0", "dropout: 0.1"),
    "gru": RECIPE.replace("recurrent,", "recurrent, cell: gru, num_layers: 2,"),
    "transformer": RECIPE.replace("{kind: recurrent, hidden_dim: 16, dropout: 0.0}", HALF),
    "cnn": DIGITS.replace("MODEL", "{kind: cnn, blocks: [{filters: 16, pool: max}]}"),
    "vgg": LARGER.replace("MODEL", "{kind: vgg, depth: 11, batch_norm: true, hidden_dim: 6}"),
}


@on_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_stopped_run_goes_on_to_the_same_bits(family, precision, folder):
    (folder / "r.yaml").write_text(FAMILIES[family])
    chosen = ("--set", f"training.precision={precision}")
    train(folder, "--run", "whole", *chosen, "--set", "training.max_steps=40")
    train(folder, "--run", "parts", *chosen, "--set", "training.max_steps=15")
    recipe = folder / "parts" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("max_steps: 15", "max_steps: 40"))
    train(folder, "--run", "parts", "--resume")
    for stem in ("model", "optimizer"):
        whole, parts = (
            load_file(folder / run / "checkpoints" / "40" / f"{stem}.safetensors")
            for run in ("whole", "parts")
        )
        assert whole.keys() == parts.keys()
        assert all(parts[name].equal(tensor) for name, tensor in whole.items())


def wide_updates(room, folder):
    """Two updates in fp64 on a GPU of ``room`` bytes beyond those in use; None: all there are."""
    torch.manual_seed(0)
    token = torch.randint(VOCAB, (2048, 16))
    task = ToyTask(ToyBatch(token, token[:, 0]), ToyBatch(token[:8], token[:8, 0]))
    trainer = toy_trainer(task, Wide().to(GPU, torch.float64))
    trainer.update([task.rows(torch.arange(8))])  # libraries have what they need
    if room:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        most = torch.cuda.memory_reserved() + room
        torch.cuda.set_per_process_memory_fraction(most / total)
    for _ in range(2):
        trainer.update([task.train])
    found = {name: weight.cpu() for name, weight in trainer.raw_model.named_parameters()}
    torch.save((found, trainer.sizes.limit(2) or 0), folder / str(room))


@on_gpu
def test_where_a_gpu_is_too_small_an_update_is_made_in_parts(tmp_path):
    for room in (None, 150_000_000):
        process = spawned.Process(target=wide_updates, args=(room, tmp_path))
        process.start()
        process.join(100)
        assert process.exitcode == 0
    (whole, none), (parts, limit) = (
        torch.load(tmp_path / str(room), weights_only=True) for room in (None, 150_000_000)
    )
    assert none == 0
    assert 0 < limit <= 2048 * 16 * 3 // 4
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-9)
