"""What a job's folder says of its work."""

import json

from seqtrans.translation.bulk.job_spec import Work, as_json, from_json


def test_a_job_begun_before_searches_had_kinds_goes_on():
    now = Work("run", "at", "seal", {"kind": "beam", "beam_size": 3}, "fp32", "text", 5, ())
    assert from_json(as_json(now, [])) == (now, [])
    stored = json.loads(as_json(now, []))
    del stored["decoding"]["kind"]
    assert from_json(json.dumps(stored)) == (now, [])
