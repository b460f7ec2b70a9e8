"""All that a run of an image classifier has before its first update."""

import logging
from dataclasses import replace

from seqtrans.images.models.build import build_image_model
from seqtrans.images.recipe.auto_batch_size import resolve_sizes
from seqtrans.images.recipe.build import build_classification
from seqtrans.images.recipe.init_from import start_from
from seqtrans.images.recipe.load_data import load_image_sets, store_facts, stored_facts
from seqtrans.images.recipe.provenance import CHOICE, order_of, origins_of
from seqtrans.images.recipe.schema import ClassificationRecipe
from seqtrans.training.auto_batch_size import store_resolved
from seqtrans.training.checkpoints.provenance import Origins
from seqtrans.training.checkpoints.resume_checks import refuse_changes
from seqtrans.training.checkpoints.run_directory import RunDirectory
from seqtrans.training.distributed.rendezvous import Rendezvous
from seqtrans.training.prepare import Prepared, fresh_model, place_model

logger = logging.getLogger(__name__)


def prepare(recipe: ClassificationRecipe, run: RunDirectory, processes: Rendezvous) -> Prepared:
    """Make or load everything that a recipe of images describes, saying what was found.

    For the arguments see ``seqtrans.recipe.load.prepare``.

    Raises:
        SeqtransError: Anything that the user can mend.
    """
    stored = stored_facts(run)
    sets = load_image_sets(recipe.data, stored)
    facts, origins = sets.facts, Origins()
    if processes.rank == 0:  # who alone saves it, and alone needs to hash the images
        origins = origins_of(recipe, sets)
        if run.steps():
            refuse_changes(run, origins, recipe, CHOICE)
        if stored is None:
            store_facts(run, facts)
    image = facts.input_shape(recipe.data.resize)
    model = fresh_model(
        lambda: build_image_model(recipe.model, image, len(facts.classes), run.path),
        recipe.training,
    )
    if recipe.init_from:
        logger.info("%s", start_from(recipe.init_from, model, facts))
    group = processes.join()
    place_model(model, recipe.training, group)
    resolved = resolve_sizes(recipe, sets, model, group)
    if resolved != recipe and group.rank == 0:
        store_resolved(run, resolved)
    task = build_classification(resolved, sets, model, group.world_size)
    # Only a size was decided on: the images need not be hashed again.
    origins = replace(origins, order=order_of(resolved))
    return Prepared(group, task, model, origins, task.updates_in)
