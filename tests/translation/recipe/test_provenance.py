"""What a translation run remembers of its text, by the names that checkpoints have on disk."""

import hashlib

from seqtrans.config import loads
from seqtrans.training.checkpoints.provenance import differing
from seqtrans.translation.recipe.provenance import origins_of
from seqtrans.translation.recipe.schema import TranslationRecipe


def kept(folder, text, key="data.train"):
    recipe = f"data: {{train: {text}, validation: [{{tsv: {folder}/c}}]}}\nmodel: {{}}\n"
    recipe += "training: {max_steps: 1}"
    found = origins_of(loads(TranslationRecipe, recipe, "r.yaml")).kept
    return {name: value for name, value in found.items() if name.startswith(key)}


def files(folder):
    digests = {}
    for name, content in (("a", b"x\n"), ("b", b"y\n"), ("c", b"x\ty\n")):
        (folder / name).write_bytes(content)
        digests[name] = hashlib.sha256(content).hexdigest()
    return digests


def test_text_and_tsv_are_remembered_as_before_there_were_other_formats(tmp_path):
    digest = files(tmp_path)
    given = f"[{{source: {tmp_path}/a, target: {tmp_path}/b}}, {{tsv: {tmp_path}/c}}]"
    before = {
        "data.train": "2 corpora",
        "data.train.0.columns": "1, 2",
        "data.train.0.source": digest["a"],
        "data.train.0.target": digest["b"],
        "data.train.1.columns": "1, 2",
        "data.train.1.tsv": digest["c"],
    }
    now = kept(tmp_path, given)
    assert now == before | {
        "data.train.0.kind": "text",
        "data.train.0.tsv": "null",
        "data.train.1.kind": "tsv",
        "data.train.1.source": "null",
        "data.train.1.target": "null",
    }
    (tmp_path / "d").write_text('{"s": "x", "t": "y"}\n')
    json = f"{{kind: jsonl, file: {tmp_path}/d, source_key: s, target_key: t}}"
    another = kept(tmp_path, f"[{json}, {json}]")  # differs from what has no kind, too
    assert {"data.train.0.source", "data.train.1.tsv"} <= set(differing(before, another))
    other = f"[{{tsv: {tmp_path}/c, source_column: 2, target_column: 1}}]"
    assert kept(tmp_path, other)["data.train.0.columns"] == "2, 1"
