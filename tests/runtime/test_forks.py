"""What computed before a fork computes after it, in a process of its own: a hang ends there."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import multiprocessing, os, pickle, sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import torch
from torch import nn

from seqtrans.translation.tokenization.segmenters import Segmenters
from seqtrans.translation.tokenization.words_and_characters import TokenSegmenter
from seqtrans.translation.tokenization.vocabulary import Vocabulary
from seqtrans.translation.search.config import BeamConfig
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.models.recurrent_encoder import RecurrentEncoderConfig
from seqtrans.translation.models.recurrent_decoder_config import RecurrentDecoderConfig
from seqtrans.translation.models.transformer import (
    TransformerDecoderConfig,
    TransformerEncoderConfig,
)
from seqtrans.translation.inference.forced_scoring import Scorer
from seqtrans.translation.inference.translator import Translator

LETTERS = "abcdefgh"
SIZES = {"num_layers": 1, "model_dim": 256, "num_heads": 4, "ffn_dim": 512}
MODELS = {
    "transformer": (TransformerEncoderConfig(**SIZES), TransformerDecoderConfig(**SIZES)),
    "recurrent": (RecurrentEncoderConfig(hidden_dim=256), RecurrentDecoderConfig(hidden_dim=256)),
}
LINES = [LETTERS[i % 8 :] + LETTERS * (i % 3) for i in range(12)]


def translate(lines):
    return translator.translate(lines)


def score(pairs):
    return [round(pair.log_prob, 3) for pair in scorer.score(pairs)]


def forked(work, argument):
    read, write = os.pipe()
    if not (child := os.fork()):
        os.write(write, repr(work(argument)).encode())
        os._exit(0)
    os.close(write)
    with open(read) as file:
        found = file.read()
    os.waitpid(child, 0)
    return found


if __name__ == "__main__":
    torch.manual_seed(1)
    segmenter = TokenSegmenter(Vocabulary(tuple(LETTERS)), "characters")
    segmenters, config = Segmenters(segmenter, segmenter), BeamConfig(max_length=7)
    encoder, decoder = MODELS[sys.argv[1]]
    model = EncoderDecoder(ModelConfig(encoder=encoder, decoder=decoder), 12, 12)
    nn.init.normal_(model.output.weight)
    translator = Translator(model, segmenters, config, "cpu")
    scorer = Scorer(model, segmenters, config, "cpu")
    expected, pairs = translate(LINES), list(zip(LINES, LINES[::-1]))
    assert torch.get_num_threads() == 2 and len(set(expected)) > 1
    scores = score(pairs)
    assert forked(score, pairs) == repr(scores)
    halves = [LINES[:6], LINES[6:]]
    fork = multiprocessing.get_context("fork")
    with fork.Pool(2) as pool:
        assert sum(pool.map(translate, halves), []) == expected
    with ProcessPoolExecutor(2, mp_context=fork) as pool:
        assert sum(pool.map(translate, halves), []) == expected
    loader = torch.utils.data.DataLoader(
        halves, batch_size=None, num_workers=2, collate_fn=translate, multiprocessing_context=fork
    )
    assert sum(loader, []) == expected
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(forked, score, pairs).result() == repr(scores)
    with ThreadPoolExecutor(4) as threads:  # one translator in many threads
        assert [x for [x] in threads.map(translate, ([line] for line in LINES))] == expected
    assert pickle.loads(pickle.dumps(translator)).translate(LINES) == expected  # as to spawned ones
    assert torch.get_num_threads() == 2
    print("as before")
"""


@pytest.mark.parametrize("model", ["transformer", "recurrent"])
def test_forked_processes_and_threads_answer_as_the_first_does(model, tmp_path: Path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "script.py", model],
        cwd=tmp_path,
        env={"OMP_NUM_THREADS": "2", "PATH": "", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == "as before\n"
