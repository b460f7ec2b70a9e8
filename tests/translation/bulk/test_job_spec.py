"""What a job's folder says of its work."""

import json
from dataclasses import asdict

import pytest

from seqtrans.translation.bulk.job_spec import Work, as_json, from_json
from seqtrans.translation.search.config import BeamConfig

LATER = ("kind", "mbr", "mbr_scale", "shortlist", "no_repeat_ngram", "no_repeat_words", "no_loops")


@pytest.mark.parametrize("n_best", [1, 2])
def test_a_job_goes_on_that_was_begun_before_some_settings_were_there(n_best):
    decoding = asdict(BeamConfig(beam_size=3, n_best=n_best))
    now = Work("run", "at", "seal", decoding, "fp32", "text", 5, ())
    assert from_json(as_json(now, [])) == (now, [])
    stored = json.loads(as_json(now, []))
    for name in LATER:
        del stored["decoding"][name]
    # Lists of the n best may differ from those of that version.
    assert (from_json(json.dumps(stored)) == (now, [])) == (n_best == 1)
    newer = json.loads(as_json(now, []))
    for name in ("mbr", "mbr_scale", "shortlist"):
        del newer["decoding"][name]
    assert from_json(json.dumps(newer)) == (now, [])
