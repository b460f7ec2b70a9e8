"""The mistakes that ``mutants.py`` makes, and the tests that ought to notice them."""

from mutations_of_training import IN_TRAINING, Mutant

BEAM = "seqtrans/translation/search/beam.py"
MODELS = ("tests/contracts/test_translation_models.py",)
SEARCH = ("tests/parity/test_beam_search.py", "tests/contracts/test_searchers.py")
SAMPLING = "seqtrans/translation/search/sampling.py"
SAMPLED = ("tests/parity/test_sampling.py", "tests/contracts/test_searchers.py")
TASKS = ("tests/contracts/test_tasks.py",)
AUGMENTING = ("tests/images/data/test_augment.py",)
IMAGE_FILES = ("tests/images/data/readers/test_read.py",)
IMAGE_EPOCHS = ("tests/images/data/test_batches.py",)
IMAGE_BLOCKS = ("tests/nn/conv/test_blocks.py",)
CLASSIFICATION = "seqtrans/images/task.py"

IMPORTS = ("tests/cli/test_imports.py",)

MUTANTS = (
    *IN_TRAINING,
    Mutant(
        "whatever a recipe is for, both applications are imported",
        "seqtrans/recipe/load.py",
        "TASKS = (",
        "import seqtrans.images.recipe.schema, seqtrans.translation.recipe.schema\nTASKS = (",
        IMPORTS,
    ),
    Mutant(
        "translating imports what only training needs",
        "seqtrans/translation/recipe/load_run.py",
        "\nSettings = ",
        "\nimport seqtrans.translation.recipe.build_task\nSettings = ",
        IMPORTS,
    ),
    Mutant(
        "state not reordered",
        BEAM,
        "state = state.reorder(search.steps[-1].parent)",
        "pass",
        SEARCH,
    ),
    Mutant(
        "K candidates, not 2K",
        BEAM,
        "log_probs, 2 * self.beam_size, self.rules.banned",
        "log_probs, self.beam_size, self.rules.banned",
        SEARCH,
    ),
    Mutant(
        "stopping bound of the current length",
        BEAM,
        "self.score(search.live.log_prob[:, 0], search.limit)",
        "self.score(search.live.log_prob[:, 0], len(search.steps))",
        SEARCH,
    ),
    Mutant(
        "state keeps other sentences than the search",
        BEAM,
        "state.keep(growing)",
        "state.keep(growing.flip(0))",
        SEARCH,
    ),
    Mutant(
        "samples depend on the place in the batch",
        SAMPLING,
        "self._uniform(one.seed, longest) for one in inputs",
        "self._uniform(row, longest) for row, _ in enumerate(inputs)",
        SAMPLED,
    ),
    Mutant(
        "the token that completes top_p is left out",
        SAMPLING,
        "share.cumsum(2) - share >= top_p",
        "share.cumsum(2) >= top_p",
        SAMPLED,
    ),
    Mutant(
        "a score is that of the distribution that was drawn from",
        SAMPLING,
        "gain = allowed.gather(",
        "gain = weights.log_softmax(2).gather(",
        SAMPLED,
    ),
    Mutant(
        "a tape shared by two continuations",
        "seqtrans/nn/attention/kv_cache.py",
        "if used_slots[0] != self.length or end >",
        "if end >",
        MODELS,
    ),
    Mutant(
        "attention is planned for every shape",
        "seqtrans/nn/attention/multi_head.py",
        "with sdpa_kernel(_UNPLANNED) if plans",
        "with nullcontext() if plans",
        ("tests/parity/test_transformer_layers.py",),
    ),
    Mutant(
        "states with gaps",
        "seqtrans/nn/recurrent/cells.py",
        ".unsqueeze(0).contiguous()",
        ".unsqueeze(0)",
        ("tests/parity/test_recurrent.py",),
    ),
    Mutant(
        "ancestry not reordered",
        "seqtrans/translation/models/transformer.py",
        "ancestry=gather_hypotheses(self.ancestry, parent)",
        "ancestry=self.ancestry",
        MODELS,
    ),
    Mutant(
        "what an attention remembers is not reordered",
        "seqtrans/translation/models/recurrent_decoder.py",
        "attention=tuple(gather_hypotheses(part, parent) for part in self.attention),",
        "",
        MODELS,
    ),
    Mutant(
        "resumption starts at the wrong batch",
        "seqtrans/training/micro_batches.py",
        "islice(batches, start, None)",
        "islice(batches, start // 2, None)",
        TASKS,
    ),
    Mutant(
        "target subwords not sampled",
        "seqtrans/translation/data/encoded_corpus.py",
        "self.segmenters.target.sample([targets[i] for i in block], seeds[1])",
        "self.segmenters.target.encode([targets[i] for i in block])",
        TASKS,
    ),
    Mutant(
        "smoothing left out of the gradient",
        "seqtrans/nn/kernels/cross_entropy.py",
        "share = smoothing / ",
        "share = 0.0 / ",
        ("tests/parity/test_cross_entropy.py",),
    ),
    Mutant(
        "augmentation by place in the batch, not by image",
        "seqtrans/images/data/augment.py",
        "draws.uniform(numbers, Draw.FLIP)",
        "draws.uniform(np.arange(len(numbers)), Draw.FLIP)",
        AUGMENTING,
    ),
    Mutant(
        "the same augmentation in every epoch",
        "seqtrans/images/data/counter_rng.py",
        "(seed, epoch, 1)",
        "(seed, 0, 1)",
        AUGMENTING,
    ),
    Mutant(
        "images judged at their own size",
        "seqtrans/images/data/batches.py",
        "normalize(resize(images, new_size), normalisation)",
        "normalize(images, normalisation)",
        ("tests/images/data/test_resize.py",),
    ),
    Mutant(
        "a pickle may name any function",
        "seqtrans/images/data/readers/cifar_pickle.py",
        "if full not in _KNOWN:",
        "if False:",
        IMAGE_FILES,
    ),
    Mutant(
        "a class's partner is before it, its image after it",
        "seqtrans/images/data/batches.py",
        "labels.roll(-1)",
        "labels.roll(1)",
        IMAGE_EPOCHS,
    ),
    Mutant(
        "one image alone in a batch",
        "seqtrans/images/data/batches.py",
        "bounds[-2] -= 1",
        "pass",
        IMAGE_EPOCHS,
    ),
    Mutant(
        "shares of mixed classes exchanged",
        CLASSIFICATION,
        "torch.lerp(partner_loss, loss,",
        "torch.lerp(loss, partner_loss,",
        TASKS,
    ),
    Mutant(
        "all processes judge the same images",
        CLASSIFICATION,
        "rows = slice(group.rank, None, group.world_size)",
        "rows = slice(0, None, group.world_size)",
        TASKS,
    ),
    Mutant(
        "a block without its shortcut",
        "seqtrans/nn/conv/convolution.py",
        "branch + self.shortcut(x)",
        "branch",
        ("tests/parity/test_image_layers.py",),
    ),
    Mutant(
        "a published network without its shortcuts",
        "seqtrans/nn/conv/residual.py",
        "branch += x if self.downsample is None else self.downsample(x)",
        "pass",
        IMAGE_BLOCKS,
    ),
    Mutant(
        "what is set aside is learnt, too",
        "seqtrans/images/data/dataset.py",
        "image_set.take(np.flatnonzero(~aside))",
        "image_set",
        IMAGE_EPOCHS,
    ),
    Mutant(
        "precision and recall exchanged",
        "seqtrans/images/confusion_matrix.py",
        "_share(row[i], predicted[i]), _share(row[i], sum(row))",
        "_share(row[i], sum(row)), _share(row[i], predicted[i])",
        ("tests/cli/images/test_train.py",),
    ),
    Mutant(
        "the middle of a picture is cut out too large",
        "seqtrans/images/data/inference_transform.py",
        "spec.size, spec.crop, spec",
        "spec.size, 1.0, spec",
        ("tests/cli/images/test_classify.py",),
    ),
)

__all__ = ["MUTANTS", "Mutant"]
