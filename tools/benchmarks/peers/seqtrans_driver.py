"""Trains and decodes with seqtrans, through its own recipe, Trainer and Translator."""

import argparse
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import contract

ARGUMENTS = contract.parse_arguments()  # sets the number of threads, so before torch

import torch
from product_rate import ProductRecorder
from safetensors.torch import load_model, save_model

from seqtrans.training.config import TrainingConfig
from seqtrans.training.optim.optimizer import AdamConfig
from seqtrans.training.optim.schedule import InverseSquareRootConfig
from seqtrans.training.trainer import Trainer
from seqtrans.translation.data.batch import TranslationBatch
from seqtrans.translation.data.formats.text import TextFiles
from seqtrans.translation.data.length_filter import FilterConfig
from seqtrans.translation.inference.translator import Translator
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.models.recurrent_decoder_config import RecurrentDecoderConfig
from seqtrans.translation.models.recurrent_encoder import RecurrentEncoderConfig
from seqtrans.translation.models.transformer import (
    TransformerDecoderConfig,
    TransformerEncoderConfig,
)
from seqtrans.translation.recipe.build import build_model
from seqtrans.translation.recipe.build_task import build_task
from seqtrans.translation.recipe.load_data import load_corpora
from seqtrans.translation.recipe.schema import DataConfig, TranslationRecipe, ValidationConfig
from seqtrans.translation.search.config import BeamConfig
from seqtrans.translation.tokenization.config import ExistingSubwordConfig
from seqtrans.translation.tokenization.segmenters import Segmenters, train_segmenters

NEVER = 1_000_000_000
RECORDED = 4  # updates whose products are computed alone
UNLIKELY = -1e4  # logit of an EOS that is not to be produced before it must be


def main(arguments: argparse.Namespace) -> None:
    """Do what the command line says and write the report."""
    recipe = recipe_of(arguments)
    work = arguments.corpus / "seqtrans"
    segmenters = train_segmenters(recipe.data.segmentation, lambda: iter(()), work / "vocabulary")
    torch.manual_seed(contract.SEED)
    model = build_model(recipe.model, segmenters)
    if arguments.weights:
        load_model(model, arguments.weights / "seqtrans.safetensors")
    rates: dict[str, float] = {}
    if arguments.action == "train":
        watch, rates = run_training(arguments, recipe, segmenters, model)
    elif arguments.weights:
        watch = decode_freely(arguments, recipe, segmenters, model)
    else:
        watch = decode_to_length(arguments, recipe, segmenters, model)
    contract.write_report(
        arguments,
        watch,
        system="seqtrans",
        version=version("seqtrans"),
        torch=torch.__version__,
        parameters=sum(p.numel() for p in model.parameters()),
        **rates,
    )


def recipe_of(arguments: argparse.Namespace) -> TranslationRecipe:
    """The recipe of the run; of the corpus, nothing is filtered out or sampled."""
    folder = arguments.corpus
    train, test = (
        TextFiles(source=folder / f"raw/{split}.source", target=folder / f"raw/{split}.target")
        for split in ("train", "test")
    )
    return TranslationRecipe(
        data=DataConfig(
            train=(train,),
            validation=(test,),
            segmentation=ExistingSubwordConfig(model=folder / "sentencepiece.model"),
            filter=FilterConfig(),
            batch_tokens=arguments.batch_tokens,
        ),
        model=model_configuration(contract.SHAPES[arguments.shape]),
        training=TrainingConfig(
            seed=contract.SEED,
            max_steps=arguments.warmup + arguments.updates,
            precision=arguments.precision,
            clip_norm=contract.CLIP_NORM,
            optimizer=AdamConfig(
                learning_rate=contract.LEARNING_RATE, betas=contract.ADAM_BETAS, epsilon=1e-8
            ),
            schedule=InverseSquareRootConfig(warmup_steps=contract.LEARNING_RATE_WARMUP),
            validate_every_steps=NEVER,
        ),
        label_smoothing=contract.LABEL_SMOOTHING,
        validation=ValidationConfig(metrics=()),
        decoding=BeamConfig(
            beam_size=arguments.beam,
            length_penalty=contract.LENGTH_PENALTY,
            max_length_factor=1.5,
            max_length_offset=10,
            max_source_tokens=NEVER,
            batch_tokens=NEVER if arguments.weights is None else arguments.decode_tokens,
        ),
    )


def model_configuration(shape: contract.Shape) -> ModelConfig:
    """The part ``model`` of the recipe."""
    if shape.kind == "recurrent":
        sizes = {"hidden_dim": shape.dim, "num_layers": shape.layers, "dropout": contract.DROPOUT}
        return ModelConfig(
            encoder=RecurrentEncoderConfig(**sizes),
            decoder=RecurrentDecoderConfig(
                **sizes, attention="additive", input_feeding=shape.input_feeding
            ),
            tie_embeddings="all",
        )
    sizes = {
        "num_layers": shape.layers,
        "model_dim": shape.dim,
        "num_heads": shape.heads,
        "ffn_dim": shape.ffn_dim,
        "norm_position": "post",
        **dict.fromkeys(["dropout", "attention_dropout", "ffn_dropout"], contract.DROPOUT),
        "embedding_dropout": contract.DROPOUT,
    }
    return ModelConfig(
        encoder=TransformerEncoderConfig(**sizes),
        decoder=TransformerDecoderConfig(**sizes),
        tie_embeddings="all",
    )


def run_training(
    arguments: argparse.Namespace,
    recipe: TranslationRecipe,
    segmenters: Segmenters,
    model: EncoderDecoder,
) -> tuple[contract.Stopwatch, dict[str, float]]:
    """Run the Trainer and look at the clock after every update; return the rates of products."""
    corpora = load_corpora(recipe.data, segmenters, arguments.corpus / "seqtrans" / "cache")
    trainer = Trainer(build_task(recipe, segmenters, corpora), model, recipe.training)
    watch = contract.Stopwatch(arguments.warmup)
    update = trainer.update
    last: deque[Sequence[TranslationBatch]] = deque(maxlen=RECORDED)

    def timed_update(micro_batches: Sequence[TranslationBatch]) -> None:
        update(micro_batches)
        sentences = sum(len(batch.source) for batch in micro_batches)
        watch.lap(sentences, sum(batch.num_targets for batch in micro_batches))
        last.append(micro_batches)

    trainer.update = timed_update
    watch.restart()
    trainer.fit()
    if arguments.save:
        arguments.save.mkdir(parents=True, exist_ok=True)
        save_model(model, str(arguments.save / "seqtrans.safetensors"))
    return watch, product_rates(update, last)


def product_rates(
    update: Callable[[Sequence[TranslationBatch]], None],
    updates: Sequence[Sequence[TranslationBatch]],
) -> dict[str, float]:
    """Take some updates once more; return their products by target and the rate of these alone."""
    recorder = ProductRecorder()
    with recorder:
        for micro_batches in updates:
            update(micro_batches)
    targets = sum(batch.num_targets for batches in updates for batch in batches)
    peak = recorder.flop / recorder.seconds_alone()
    return {"flop_per_target": recorder.flop / targets, "peak_flop_per_second": peak}


def decode_freely(
    arguments: argparse.Namespace,
    recipe: TranslationRecipe,
    segmenters: Segmenters,
    model: EncoderDecoder,
) -> contract.Stopwatch:
    """Translate the test file from text to text; a lap is the whole file."""
    translator = Translator(model, segmenters, recipe.decoding, "cpu", arguments.precision)
    lines = test_lines(arguments.corpus)
    watch = contract.Stopwatch(arguments.warmup)
    for _ in range(arguments.warmup + arguments.passes):
        watch.restart()
        found = translator.translate_window(lines)
        watch.lap(len(lines), sum(len(translation.tokens) + 1 for translation in found))
    return watch


def decode_to_length(
    arguments: argparse.Namespace,
    recipe: TranslationRecipe,
    segmenters: Segmenters,
    model: EncoderDecoder,
) -> contract.Stopwatch:
    """Translate the shared batches from text to text, each to a length; a lap is a batch."""
    lines = test_lines(arguments.corpus)
    with torch.no_grad():
        model.output.bias[segmenters.target.specials.eos] = UNLIKELY
    batches = contract.shared_batches(arguments.corpus, "test")
    watch = contract.Stopwatch(warmup=len(batches) * arguments.warmup)
    for numbers in batches * (arguments.warmup + arguments.passes):
        texts = [lines[i] for i in numbers]
        width = max(map(len, segmenters.source.encode(texts))) + 1
        _, most = contract.output_lengths(arguments, width)
        config = replace(recipe.decoding, max_length=most, max_length_offset=most)
        translator = Translator(model, segmenters, config, "cpu", arguments.precision)
        watch.restart()
        found = translator.translate_window(texts)
        watch.lap(len(numbers), sum(len(translation.tokens) + 1 for translation in found))
    return watch


def test_lines(corpus: Path) -> list[str]:
    """The source text that all systems decode."""
    return (corpus / "raw" / "test.source").read_text(encoding="utf-8").split("\n")[:-1]


if __name__ == "__main__":
    main(ARGUMENTS)
