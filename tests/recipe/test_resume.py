"""The recipe of a run that goes on."""

import pytest

from seqtrans.recipe.resume import resume_recipe
from seqtrans.training.checkpoints.run_directory import RunDirectory

STORED = """
data: {{train: [{{tsv: {0}}}], validation: [{{tsv: {0}}}]}}
model: {{}}
training: {{max_steps: 1}}
decoding: {{beam_size: 3, max_length: 9}}
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "c").write_text("x\ty\n")
    (tmp_path / "recipe.yaml").write_text(STORED.format(tmp_path / "c"))
    return RunDirectory(tmp_path)


def test_a_kind_that_was_left_out_is_no_other_kind(run):
    kept = resume_recipe(run, run.recipe, ["decoding.kind=beam"]).recipe.decoding
    assert (kept.kind, kept.beam_size, kept.max_length) == ("beam", 3, 9)


def test_another_kind_keeps_the_settings_that_all_kinds_share(run):
    changed = resume_recipe(run, run.recipe, ["decoding.kind=sampling"]).recipe.decoding
    assert (changed.kind, changed.max_length, changed.temperature) == ("sampling", 9, 1.0)
    assert not hasattr(changed, "beam_size")
