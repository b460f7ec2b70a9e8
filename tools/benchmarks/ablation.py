"""What does each technique give? Train a recipe as it is, and with one change at a time.

    python tools/benchmarks/ablation.py recipes/translation/smart-home-en-de.yaml --only simcut muon
    python tools/benchmarks/ablation.py RECIPE --only no_ema --minutes 8 --seeds 1 2 3 --threads 1
    python tools/benchmarks/ablation.py RECIPE --change wide model.encoder.ffn_dim=1024

One training follows the other, each for the same minutes on the same cores, so a technique that
makes updates slower has fewer of them. Each run translates the validation data of the recipe with
the recipe's search. A difference is that of the means over the seeds. All is kept in
``results.json``; a training that it has is not repeated. Run it on an idle machine.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "peers"))

from rounds import processor

Change = tuple[str, ...]
"""Settings, as ``seqtrans train --set`` takes them."""
Result = dict[str, Any]

AS_IT_IS = "the recipe"


def both(setting: str) -> Change:
    """Return a setting of the encoder and of the decoder."""
    return f"model.encoder.{setting}", f"model.decoder.{setting}"


TECHNIQUES: dict[str, Change] = {
    "simcut": ("consistency.kind=simcut",),
    "r_drop": ("consistency.kind=r_drop",),
    "token_cutoff": ("consistency.kind=token_cutoff",),
    "word_dropout": ("word_dropout={source: 0.1, target: 0.1}",),
    "both_directions": ("data.both_directions_epochs=5",),
    "subword_sampling": ("data.segmentation.sampling={kind: unigram, alpha: 0.5}",),
    "no_subword_sampling": ("data.segmentation.sampling=null",),
    "muon": ("training.optimizer.kind=muon",),
    "schedule_free": (
        "training.optimizer={kind: schedule_free_adamw}",
        "training.schedule={kind: constant, warmup_steps: 300}",
        "training.ema_decay=null",
    ),
    "no_ema": ("training.ema_decay=null",),
    "qk_norm": both("qk_norm=true"),
    "zero_init_residual": both("zero_init_residual=true"),
    "value_residual": both("value_residual=true"),
    "relative_positions": both("positions=relative"),
    "layer_dropout": both("layer_dropout=0.1"),
    "logit_soft_cap": ("model.logit_soft_cap=30",),
}
"""The changes that ``--only`` names; some are for Transformers only."""


def main() -> None:
    """Train, translate, score; print the table."""
    arguments = parse_arguments()
    cores = sorted(os.sched_getaffinity(0))[: arguments.threads]
    os.sched_setaffinity(0, cores)  # of all that is started here
    changes = {AS_IT_IS: (), **{name: TECHNIQUES[name] for name in arguments.only}}
    changes |= {name: tuple(settings) for name, *settings in arguments.change}
    conditions = {
        "recipe": arguments.recipe.name,
        "settings": [f"training.max_minutes={arguments.minutes:g}", *arguments.set],
        "threads": arguments.threads,
        "processor": processor(),
    }
    arguments.work.mkdir(parents=True, exist_ok=True)
    file = arguments.work / "results.json"
    results: list[Result] = []
    if file.exists() and (known := json.loads(file.read_text()))["conditions"] == conditions:
        results = known["results"]
    for seed in arguments.seeds:
        for name, change in changes.items():
            settings = [*conditions["settings"], *change]
            if not any(
                (one["name"], one["change"], one["seed"]) == (name, list(change), seed)
                for one in results
            ):
                print(f"{name}, seed {seed}: training", file=sys.stderr)
                run = arguments.work / f"{name.replace(' ', '-')}-{seed}"
                scores = train(arguments.recipe, run, [*settings, f"training.seed={seed}"], cores)
                results.append({"name": name, "change": list(change), "seed": seed, **scores})
                kept = {"conditions": conditions, "results": results}
                file.write_text(json.dumps(kept, indent=1))
    print(table([one for one in results if changes.get(one["name"]) == tuple(one["change"])]))
    told = ", ".join(conditions["settings"])
    print(f"\n{conditions['recipe']}, {told}; cores: {len(cores)}, {conditions['processor']}")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="What each change of a recipe gives.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument(
        "--only", nargs="+", choices=TECHNIQUES, default=[], help="techniques to try"
    )
    parser.add_argument(
        "--change",
        nargs="+",
        action="append",
        default=[],
        metavar="NAME SETTING",
        help="another change, with a name; may be repeated",
    )
    parser.add_argument("--set", nargs="+", default=[], help="settings of all trainings")
    parser.add_argument("--minutes", type=float, default=20.0, help="of each training")
    parser.add_argument("--threads", type=int, default=2, help="and cores; a process each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"))
    arguments = parser.parse_args()
    if not (arguments.only or arguments.change):
        parser.error("name techniques with --only, or a change with --change")
    return arguments


def train(recipe: Path, run: Path, settings: Sequence[str], cores: Sequence[int]) -> Result:
    """Train in a fresh run directory; return updates, BLEU and chrF of the validation data."""
    shutil.rmtree(run, ignore_errors=True)
    command = [sys.executable, "-m", "seqtrans", "train", str(recipe), "--run", str(run)]
    command += [word for setting in settings for word in ("--set", setting)]
    one_each = {**os.environ, "OMP_NUM_THREADS": "1"}
    with run.with_suffix(".log").open("w", encoding="utf-8") as log:
        told = [*command, "--devices", str(len(cores))]
        subprocess.run(told, stdout=log, stderr=subprocess.STDOUT, env=one_each, check=True)
    return score(run, len(cores))


def score(run: Path, threads: int) -> Result:
    """Translate the validation data of a run with the search of its recipe."""
    import torch

    import seqtrans
    from seqtrans.training.checkpoints.find import find_checkpoint, stored_recipe_of
    from seqtrans.training.checkpoints.run_directory import open_run
    from seqtrans.translation.data.parallel_corpus import read_pairs
    from seqtrans.translation.evaluation.metrics import Measure, corpus_scores
    from seqtrans.translation.recipe.schema import TranslationRecipe

    torch.set_num_threads(threads)
    directory = open_run(run)
    recipe = stored_recipe_of(TranslationRecipe, "translation", directory)
    sources, references = zip(*read_pairs(*recipe.data.validation), strict=True)
    translations = seqtrans.load(run).translate(sources)
    scores = corpus_scores(translations, references, Measure(metrics=("bleu", "chrf")))
    return {"updates": int(find_checkpoint(directory, "last").name), **scores}


def table(results: Sequence[Result]) -> str:
    """Return a Markdown table, a row for each change, the recipe as it is first."""
    rows = ["| change | updates | BLEU | difference | over seeds | chrF |"]
    rows.append("|---|--:|--:|--:|--:|--:|")
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for one in results:
        by_name.setdefault(one["name"], []).append(one)
    plain = statistics.mean(one["bleu"] for one in by_name[AS_IT_IS])
    for name, runs in by_name.items():
        bleu, chrf, updates = (
            statistics.mean(one[key] for one in runs) for key in ("bleu", "chrf", "updates")
        )
        values = [one["bleu"] for one in runs]
        spread = f"{min(values):.1f} to {max(values):.1f} ({len(values)})" if values[1:] else ""
        difference = "" if name == AS_IT_IS else f"{bleu - plain:+.1f}"
        said = f"{name}: {', '.join(f'`{setting}`' for setting in runs[0]['change'])}".rstrip(": ")
        cells = (said, f"{updates:,.0f}", f"{bleu:.1f}", difference, spread, f"{chrf:.1f}")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
