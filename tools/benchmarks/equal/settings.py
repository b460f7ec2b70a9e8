"""The options of every peer, in its own words, and where they come from.

``documented`` are those that a system's own documentation gives for the smallest task that it
treats; batches for several GPUs become those of one device. Such settings are made for hours on a
GPU: some spend the minutes of this comparison in the warm-up of the learning rate. So each peer
enters a second time: ``adapted`` has the same model, batches and learning rate for all, of a size
that a processor trains in minutes, and leaves the rest as documented.
"""

from typing import Any, NamedTuple

LAYERS, DIM, FFN_DIM, HEADS = 3, 256, 1024, 4
BATCH_TOKENS, LEARNING_RATE, WARMUP = 2048, 1e-3, 400
VARIANTS = ("documented", "adapted")


class Settings(NamedTuple):
    """Options of one system.

    Attributes:
        options: By their names in this system.
        source: Where they come from.
    """

    options: dict[str, Any]
    source: str


def settings_of(system: str, variant: str) -> Settings:
    """Return the options of a peer: ``documented`` or ``adapted``."""
    documented, adapted, source = PEERS[system]
    if variant == "documented":
        return Settings(documented, source)
    model = f"{LAYERS} + {LAYERS} layers of {DIM}, {FFN_DIM} in the feed-forward block"
    told = f"{model}; {BATCH_TOKENS} tokens a batch; learning rate {LEARNING_RATE} after {WARMUP}"
    return Settings(_merged(documented, adapted), f"{told} updates; else {source}")


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return the options of both; the second's count where both have one."""
    both = dict(first)
    for name, value in second.items():
        nested = isinstance(value, dict) and isinstance(both.get(name), dict)
        both[name] = _merged(both[name], value) if nested else value
    return both


FAIRSEQ = {
    "arch": "transformer_iwslt_de_en",
    "share-all-embeddings": True,  # there, the output only: its languages share no vocabulary
    "optimizer": "adam",
    "adam-betas": "(0.9, 0.98)",
    "clip-norm": 0.0,
    "lr": 5e-4,
    "lr-scheduler": "inverse_sqrt",
    "warmup-updates": 4000,
    "dropout": 0.3,
    "weight-decay": 0.0001,
    "criterion": "label_smoothed_cross_entropy",
    "label-smoothing": 0.1,
    "max-tokens": 4096,
}
FAIRSEQ_ADAPTED = {
    **{f"{half}-layers": LAYERS for half in ("encoder", "decoder")},
    **{f"{half}-embed-dim": DIM for half in ("encoder", "decoder")},
    **{f"{half}-ffn-embed-dim": FFN_DIM for half in ("encoder", "decoder")},
    **{f"{half}-attention-heads": HEADS for half in ("encoder", "decoder")},
    "lr": LEARNING_RATE,
    "warmup-updates": WARMUP,
    "max-tokens": BATCH_TOKENS,
}

_JOEY_HALF = {
    "type": "transformer",
    "num_layers": 6,
    "num_heads": 4,
    "embeddings": {"embedding_dim": 256, "scale": True, "dropout": 0.0},
    "hidden_size": 256,
    "ff_size": 1024,
    "dropout": 0.3,
}
JOEY = {
    "training": {
        "optimizer": "adam",
        "normalization": "tokens",
        "adam_betas": [0.9, 0.999],
        # Its plateau of 5 validations after 1,000 updates each lies behind the end, and fails with
        # a new torch: a constant rate is the same.
        "scheduling": "exponential",
        "decrease_factor": 1.0,
        "learning_rate": 0.0003,
        "learning_rate_min": 0.0,
        "weight_decay": 0.0,
        "label_smoothing": 0.1,
        "batch_size": 4096,
        "batch_type": "token",
    },
    "testing": {"beam_alpha": 1.0},
    "model": {
        "initializer": "xavier_uniform",
        "embed_initializer": "xavier_uniform",
        "embed_init_gain": 1.0,
        "init_gain": 1.0,
        "bias_initializer": "zeros",
        "tied_embeddings": True,
        "tied_softmax": True,
        "encoder": _JOEY_HALF,
        "decoder": _JOEY_HALF,
    },
}
JOEY_ADAPTED = {
    "training": {
        "scheduling": "warmupinversesquareroot",
        "learning_rate": LEARNING_RATE,
        "learning_rate_warmup": WARMUP,
        "batch_size": BATCH_TOKENS,
    },
    "model": {half: {"num_layers": LAYERS} for half in ("encoder", "decoder")},
}

EOLE = {
    "training": {
        "bucket_size": 16384,  # there 262,144; the quickstart has 1,000 for 10,000 pairs
        "num_workers": 2,
        "batch_type": "tokens",
        "batch_size": 4096,
        "accum_count": [4],
        "accum_steps": [0],
        "compute_dtype": "fp32",
        "optim": "adam",
        "learning_rate": 2,
        "warmup_steps": 8000,
        "decay_method": "noam",
        "adam_beta2": 0.998,
        "max_grad_norm": 0,
        "label_smoothing": 0.1,
        "param_init_method": "xavier_uniform",
        "normalization": "tokens",
        "dropout_steps": [0],
        "dropout": [0.1],
        "attention_dropout": [0.1],
    },
    "model": {
        "architecture": "transformer",
        "layers": 6,
        "heads": 8,
        "hidden_size": 512,
        "transformer_ff": 2048,
        "share_embeddings": True,
        "share_decoder_embeddings": True,
        "embeddings": {"word_vec_size": 512, "position_encoding_type": "SinusoidalInterleaved"},
    },
}
EOLE_ADAPTED = {
    "training": {
        "batch_size": BATCH_TOKENS,
        "accum_count": [1],
        # noam: the rate is this / sqrt(dim) / sqrt(warm-up) at its peak
        "learning_rate": LEARNING_RATE * (DIM * WARMUP) ** 0.5,
        "warmup_steps": WARMUP,
    },
    "model": {
        "layers": LAYERS,
        "heads": HEADS,
        "hidden_size": DIM,
        "transformer_ff": FFN_DIM,
        "embeddings": {"word_vec_size": DIM},
    },
}

MARIAN = {
    "type": "transformer",
    "enc-depth": 6,
    "dec-depth": 6,
    "dim-emb": 512,
    "transformer-dim-ffn": 2048,
    "transformer-heads": 8,
    "transformer-postprocess-emb": "d",
    "transformer-postprocess": "dan",
    "transformer-dropout": 0.1,
    "label-smoothing": 0.1,
    "max-length": 100,
    # There as many as fit into 10,000 MB; to find their number takes a processor many minutes.
    "mini-batch-words": 4096,
    "workspace": 4000,
    "maxi-batch": 1000,
    "cost-type": "ce-mean-words",
    "learn-rate": 0.0003,
    "lr-warmup": 16000,
    "lr-decay-inv-sqrt": 16000,
    "optimizer-params": "0.9 0.98 1e-09",
    "clip-norm": 5,
    "tied-embeddings-all": True,
    "sync-sgd": True,
    "exponential-smoothing": 1e-4,
    "normalize": 0.6,
}
MARIAN_ADAPTED = {
    "enc-depth": LAYERS,
    "dec-depth": LAYERS,
    "dim-emb": DIM,
    "transformer-dim-ffn": FFN_DIM,
    "transformer-heads": HEADS,
    "mini-batch-words": BATCH_TOKENS,
    "workspace": 2000,
    "learn-rate": LEARNING_RATE,
    "lr-warmup": WARMUP,
    "lr-decay-inv-sqrt": WARMUP,
    # Smoothing over 10,000 updates would show weights of the beginning.
    "exponential-smoothing": 2e-3,
}

PEERS = {
    "fairseq": (FAIRSEQ, FAIRSEQ_ADAPTED, "fairseq, examples/translation/README.md, IWSLT'14"),
    "joey": (JOEY, JOEY_ADAPTED, "Joey NMT, configs/transformer_iwslt14_deen_sp.yaml"),
    "eole": (EOLE, EOLE_ADAPTED, "Eole, docs/FAQ/transformer: it has no recipe for small data"),
    "marian": (MARIAN, MARIAN_ADAPTED, "marian-examples, transformer/run-me.sh"),
}
