"""What reads recipes, runs, vocabularies and corpora, and ways to harm the files of each."""

import gzip
import hashlib
import json
import lzma
import random
import shutil
import struct
from itertools import islice
from pathlib import Path

import yaml
import zstandard

from seqtrans import config
from seqtrans.recipe.load import load_recipe, prepare
from seqtrans.training.checkpoints.run_directory import create, open_run
from seqtrans.training.oom import MicroBatchSizeLimits
from seqtrans.training.reporting.loggers import JsonLinesLogger
from seqtrans.training.reporting.plots import read_curves
from seqtrans.training.trainer import Trainer
from seqtrans.translation.data.cache import fill_cache
from seqtrans.translation.data.corpus_files import open_corpus
from seqtrans.translation.data.formats.text import TextFiles
from seqtrans.translation.data.formats.tsv import TsvFile
from seqtrans.translation.data.parallel_corpus import read_pairs
from seqtrans.translation.data.synthetic import synthetic_pairs
from seqtrans.translation.recipe.load_run import load_run
from seqtrans.translation.tokenization.config import BpeDropout, SubwordConfig, UnigramSampling
from seqtrans.translation.tokenization.segmenters import load_segmenters, train_segmenters
from seqtrans.translation.tokenization.words_and_characters import CharactersConfig, WordsConfig
from tests.support.corrupted_image_inputs import IMAGE_VICTIMS
from tests.support.corruption import bomb, spoil_bytes, spoil_plain, spoil_text
from tests.support.sandbox import Victim

RECIPE = """
data:
  train: [{source: train.src, target: train.tgt}]
  validation: [{source: dev.src, target: dev.tgt}]
  segmentation:
    kind: sentencepiece
    vocab_size: 24
    byte_fallback: false
    sampling: {kind: unigram, alpha: 0.2}
  batch_tokens: 150
model:
  encoder: {kind: transformer, num_layers: 1, model_dim: 8, num_heads: 2, ffn_dim: 8}
  decoder: {kind: recurrent, hidden_dim: 8}
training:
  max_steps: 4
  ema_decay: 0.9
  precision: fp32
  schedule: {kind: inverse_square_root, warmup_steps: 10}
  validate_every_steps: 2
  log_every_steps: 1
  stopping: {metric: chrf}
  checkpoints: {keep_best: 1, keep_last: 2}
validation: {metrics: [chrf], decoding: {beam_size: 1, max_length: 12}}
"""
PACK = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress}
Chance = random.Random


def victim(kind: str) -> Victim:
    """What reads files of a kind."""
    return VICTIMS[kind]


def spoil_file(chance: Chance, file: Path, *, text: bool = False) -> None:
    """Harm one file in place."""
    content = file.read_bytes()
    marker = str(file.parents[1] / "marker")
    change = spoil_text if text and chance.random() < 0.7 else spoil_bytes
    file.write_bytes(
        change(chance, content, marker) if change is spoil_text else change(chance, content)
    )


def write_corpus(folder: Path) -> None:
    for name, count, seed in (("train", 60, 1), ("dev", 4, 2)):
        pairs = list(synthetic_pairs("reverse", count, seed=seed, max_tokens=6))
        for ending, side in (("src", 0), ("tgt", 1)):
            (folder / f"{name}.{ending}").write_text("".join(f"{p[side]}\n" for p in pairs))


def make_recipe(folder: Path) -> None:
    write_corpus(folder)
    (folder / "recipe.yaml").write_text(RECIPE)


def spoil_recipe(chance: Chance, folder: Path) -> None:
    spoil_file(chance, folder / "recipe.yaml", text=True)


def train(folder: Path, steps: int) -> None:
    """Begin or resume the run of a recipe."""
    recipe = load_recipe(folder / "recipe.yaml", [f"training.max_steps={steps}"])
    path = folder / "run"
    run = open_run(path) if path.exists() else create(path, config.dump(recipe))
    prepared = prepare(recipe, run)
    loggers = [JsonLinesLogger(run.metrics)]
    trainer = Trainer(prepared.task, prepared.model, recipe.training, run=run, loggers=loggers)
    trainer.resume()
    trainer.fit()


def make_run(folder: Path) -> None:
    make_recipe(folder)
    train(folder, 4)


def make_short_run(folder: Path) -> None:
    """Memory ran out in this one."""
    make_run(folder)
    sizes = MicroBatchSizeLimits(folder / "run" / "sizes.yaml")
    sizes.learn(1, 120)
    sizes.learn(4, 60)
    sizes.write()


def spoil_sizes(chance: Chance, folder: Path) -> None:
    spoil_file(chance, folder / "run" / "sizes.yaml", text=True)


def use_run(folder: Path) -> None:
    """Everything that reads a run: drawing its curves, translating, going on."""
    read_curves(folder / "run" / "metrics.jsonl")
    run = load_run(folder / "run", "last")
    decoding = run.decoding({"max_length": 5}, "here")
    run.translator(decoding).translate(["a b c", "b"])
    train(folder, 5)


def spoil_run(chance: Chance, folder: Path) -> None:
    """One file of a run; half of the time with a checksum that is right."""
    run = folder / "run"
    files = sorted(path for path in run.rglob("*") if path.is_file())
    file = chance.choice(files)
    spoil_file(chance, file, text=file.suffix not in {".safetensors", ".model"})
    if chance.random() < 0.5:
        reseal_vocabulary(run / "vocabulary")
        for state in run.glob("checkpoints/*/state.yaml"):
            reseal(state)


def spoil_state(chance: Chance, folder: Path) -> None:
    """Values of a checkpoint's state that nobody wrote, under a checksum that is right."""
    for state in (folder / "run").glob("checkpoints/*/state.yaml"):
        text = state.read_text().rpartition("checksum: ")[0]
        if chance.random() < 0.5:
            plain = yaml.safe_load(text)
            spoil_plain(chance, plain)
            state.write_text(yaml.safe_dump(plain, sort_keys=False))
        else:
            marker = str(folder.parent / "marker")
            state.write_bytes(spoil_text(chance, text.encode(), marker))
        reseal(state, files=chance.random() < 0.5)


def reseal(state: Path, *, files: bool = True) -> None:
    """Give the files of a checkpoint the checksums that they have now."""
    text = state.read_bytes().decode(errors="replace").rpartition("checksum: ")
    body = text[0] or text[2]
    if files:
        try:
            plain = yaml.safe_load(body)
            for name in plain["files"]:
                content = (state.parent / name).read_bytes()
                digest = hashlib.sha256(content).hexdigest()
                plain["files"][name] = {"bytes": len(content), "sha256": digest}
            body = yaml.safe_dump(plain, sort_keys=False)
        except Exception:  # what is spoilt can't be read
            body = str(body)
    body = body.rstrip("\n") + "\n"
    digest = hashlib.sha256(body.encode(errors="replace")).hexdigest()
    state.write_bytes(f"{body}checksum: {digest}\n".encode(errors="replace"))


def lie_in_header(chance: Chance, folder: Path) -> None:
    """Tensors whose header says what is not so, under checksums that are right."""
    files = sorted((folder / "run").glob("checkpoints/*/*.safetensors"))
    for file in chance.sample(files, chance.randint(1, len(files))):
        content = file.read_bytes()
        (size,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + size])
        spoil_plain(chance, header)
        packed = json.dumps(header).encode()
        length = chance.choice((len(packed), len(packed), size, 2**40, 2**64 - 1))
        file.write_bytes(struct.pack("<Q", length) + packed + content[8 + size :])
        reseal(file.parent / "state.yaml")


SEGMENTATIONS = {
    "unigram": SubwordConfig(vocab_size=24, byte_fallback=False, sampling=UnigramSampling()),
    "bpe": SubwordConfig(
        model_type="bpe", vocab_size=24, byte_fallback=False, sampling=BpeDropout()
    ),
    "nbest": SubwordConfig(
        vocab_size=280, byte_fallback=True, sampling=UnigramSampling(nbest_size=4)
    ),
    "words": WordsConfig(joint=False),
    "characters": CharactersConfig(),
}


def make_vocabularies(folder: Path) -> None:
    pairs = [(f"{a} xy", b) for a, b in synthetic_pairs("reverse", 60, seed=1, max_tokens=6)]
    for name, segmentation in SEGMENTATIONS.items():
        train_segmenters(segmentation, lambda: iter(pairs), folder / name)


def spoil_vocabulary(chance: Chance, folder: Path) -> None:
    """One vocabulary only, so that it is the one that is read."""
    chosen = chance.choice(sorted(SEGMENTATIONS))
    for name in SEGMENTATIONS:
        if name != chosen:
            shutil.rmtree(folder / name)
    file = chance.choice(sorted((folder / chosen).iterdir()))
    spoil_file(chance, file, text=file.suffix in (".yaml", ".json"))
    if chance.random() < 0.8:
        reseal_vocabulary(folder / chosen)


def reseal_vocabulary(folder: Path) -> None:
    index = folder / "segmentation.yaml"
    try:
        plain = yaml.safe_load(index.read_text())
        for file in plain["files"]:
            content = (folder / file["name"]).read_bytes()
            file["sha256"] = hashlib.sha256(content).hexdigest()
        index.write_text(yaml.safe_dump(plain))
    except Exception:  # what is spoilt can't be read
        return


def use_vocabularies(folder: Path) -> None:
    lines = ["a b c", "", "\u00e9 <s> a", "b" * 300, "a xy b "]
    for path in sorted(folder.iterdir()):
        for segmenter in load_segmenters(path):
            for ids in (*segmenter.encode(lines), *segmenter.sample(lines, 1)):
                assert all(0 <= i < len(segmenter.pieces) for i in ids)
                segmenter.decode(ids)


def make_corpora(folder: Path) -> None:
    pairs = list(synthetic_pairs("reverse", 200, seed=1, max_tokens=6))
    columns = [[f"{p[0]}\n" for p in pairs], [f"{p[1]}\n" for p in pairs]]
    columns.append([f"{one}\t{other}\n" for one, other in pairs])
    for ending, pack in PACK.items():
        for name, lines in zip(("source", "target", "tsv"), columns, strict=True):
            (folder / f"{name}{ending}").write_bytes(pack("".join(lines).encode()))


def spoil_corpus(chance: Chance, folder: Path) -> None:
    ending = chance.choice(list(PACK))
    for other in PACK.keys() - {ending}:
        for name in ("source", "target", "tsv"):
            (folder / f"{name}{other}").unlink()
    for name in chance.choice((["source", "target", "tsv"], ["source"], ["target"])):
        file = folder / f"{name}{ending}"
        if ending and chance.random() < 0.15:
            file.write_bytes(bomb(chance, ending))
        elif chance.random() < 0.3:
            content = "".join(islice(file.name, 1)).encode() + chance.randbytes(400)
            file.write_bytes(PACK[ending](content * chance.choice((1, 9))))
        else:
            spoil_file(chance, file)


def use_corpora(folder: Path) -> None:
    for ending in PACK:
        if (folder / f"tsv{ending}").exists():
            aligned = TextFiles(
                source=folder / f"source{ending}", target=folder / f"target{ending}"
            )
            columns = TsvFile(tsv=folder / f"tsv{ending}")
            read = read_pairs(columns, aligned)
            assert all("\n" not in side for pair in islice(read, 100_000) for side in pair)


def make_cache(folder: Path) -> None:
    write_corpus(folder)
    pairs = [(p, q) for p, q in read_pairs(_corpus(folder))]
    train_segmenters(SEGMENTATIONS["unigram"], lambda: iter(pairs), folder / "vocabulary")
    _cached(folder)


def _corpus(folder: Path) -> TextFiles:
    return TextFiles(source=folder / "train.src", target=folder / "train.tgt")


def _cached(folder: Path):
    segmenters = load_segmenters(folder / "vocabulary")
    cache = folder / "cache"
    key = fill_cache(cache, [_corpus(folder)], segmenters, None, keep_text=True)
    return open_corpus(cache / key), segmenters


def spoil_cache(chance: Chance, folder: Path) -> None:
    file = chance.choice(sorted(p for p in (folder / "cache").rglob("*") if p.is_file()))
    spoil_file(chance, file, text=file.suffix == ".json")


def use_cache(folder: Path) -> None:
    corpus, segmenters = _cached(folder)
    for side, rows, texts in zip(
        segmenters,
        (corpus.source, corpus.target),
        (corpus.source_text, corpus.target_text),
        strict=True,
    ):
        for i in range(len(rows)):
            assert len(rows[i]) == rows.lengths[i]
            assert side.encode([texts[i]])[0] == rows[i].tolist()


VICTIMS: dict[str, Victim] = {
    "recipe": Victim(make_recipe, spoil_recipe, lambda f: load_recipe(f / "recipe.yaml")),
    "run": Victim(make_run, spoil_run, use_run),
    "sizes": Victim(make_short_run, spoil_sizes, use_run),
    "state": Victim(make_run, spoil_state, use_run),
    "tensors": Victim(make_run, lie_in_header, use_run),
    "vocabulary": Victim(make_vocabularies, spoil_vocabulary, use_vocabularies),
    "corpus": Victim(make_corpora, spoil_corpus, use_corpora),
    "cache": Victim(make_cache, spoil_cache, use_cache, mends=True),
    **IMAGE_VICTIMS,
}
