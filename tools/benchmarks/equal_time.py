"""Who translates best after the same minutes of training on the same cores, from the same text?

    python tools/benchmarks/equal_time.py --data multi30k-en-de --data-folder DIR --venvs DIR
    python tools/benchmarks/equal_time.py --data paths --train S T --test S T --recipe RECIPE
    python tools/benchmarks/equal_time.py --from runs/equal-time/results.json

One system trains after the other, each in its own environment (``--venvs DIR`` makes them) with its
own training loop, on the same lines in the same sentencepiece pieces. A peer enters with the
settings of its documentation and with settings for a processor (``equal/settings.py`` has both and
their sources); seqtrans with a recipe, whose text, pieces, seed and minutes are replaced.

The clock starts with the first update: installing, imports and preparing data don't count. What a
system does from then on counts: reading batches, keeping weights, and for seqtrans validating. The
peers don't validate while it runs, which is to their advantage. Then all weights that were kept
translate ``dev``, with a beam of 5; this gives the plot of BLEU against minutes. Those with the
highest BLEU translate ``test``, which was neither trained on nor used to choose.

Intervals are those of sacreBLEU's bootstrap, and its paired test compares with the best peer; with
several seeds, both take the run of median BLEU. All is kept in ``results.json``, from which
``--from`` makes table and plot again; a run that it has with the same settings is not repeated. Run
it on an idle machine.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent / "equal"))
sys.path.insert(0, str(Path(__file__).parent / "peers"))

import yaml
from report import MEASURE, OURS, plot, table, time_to_reach
from rounds import processor
from sentencepiece import SentencePieceProcessor
from settings import PEERS, VARIANTS, Settings, settings_of
from venvs import make, version_of

from data import NAMED, prepare
from seqtrans.translation.evaluation.metrics import corpus_scores

DRIVERS = Path(__file__).parent / "equal"
RECIPES = Path(__file__).parents[2] / "recipes" / "translation"


class Entrant(NamedTuple):
    """A system with settings.

    Attributes:
        system: Its name.
        python: Interpreter of its environment.
        label: Its name in table and plot.
        settings: What it is told.
    """

    system: str
    python: Path
    label: str
    settings: Settings


def main() -> None:
    """Train, translate, score; print the table."""
    arguments = parse_arguments()
    file = arguments.results
    results = json.loads(file.read_text()) if file else measure(arguments)
    print(f"{table(results)}\n\n{time_to_reach(results) or ''}\n\n{conditions(results)}")
    picture = (arguments.results or arguments.work / "results.json").with_suffix(".png")
    plot(results, picture)
    print(f"plot: {picture}", file=sys.stderr)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="BLEU after equal minutes of training.")
    parser.add_argument("--data", choices=[*NAMED, "paths"], default="paths")
    parser.add_argument("--data-folder", type=Path, help="where the text of --data lies")
    for split in ("train", "dev", "test"):
        parser.add_argument(f"--{split}", nargs=2, metavar=("SOURCE", "TARGET"))
    parser.add_argument("--pairs", type=int, help="train on so many at most")
    parser.add_argument("--dev-lines", type=int, default=500, help="to choose weights by")
    parser.add_argument("--test-lines", type=int, help="translate so many at most")
    parser.add_argument("--vocabulary", type=int, default=6000, help="joint pieces")
    parser.add_argument("--recipe", type=Path, help="of seqtrans; else the one named like --data")
    systems = [OURS, *PEERS]
    parser.add_argument("--systems", nargs="+", choices=systems, default=systems)
    parser.add_argument("--settings", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--venvs", type=Path, help="environments of peers; made where missing")
    for system in PEERS:
        python = os.environ.get(f"{system.upper()}_PYTHON")
        parser.add_argument(f"--{system}-python", type=Path, default=python)
    parser.add_argument("--minutes", type=float, default=20.0, help="of each training")
    parser.add_argument("--points", type=int, default=8, help="of each curve")
    parser.add_argument("--threads", type=int, default=2, help="and cores")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--work", type=Path, default=Path("runs/equal-time"))
    parser.add_argument("--from", dest="results", type=Path, help="results.json of an earlier run")
    return parser.parse_args()


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and translate with every entrant and seed that the results lack."""
    cores = sorted(os.sched_getaffinity(0))[: arguments.threads]
    os.sched_setaffinity(0, cores)  # of all that is started here
    arguments.work = arguments.work.resolve()
    corpus, file = arguments.work / "corpus", arguments.work / "results.json"
    counts = prepare(arguments, corpus)
    asked = {
        "data": arguments.data if arguments.data != "paths" else " ".join(arguments.train),
        "pairs": counts,
        "minutes": arguments.minutes,
        "threads": arguments.threads,
        "vocabulary": arguments.vocabulary,
        "processor": processor(),
    }
    reference = lines_of(corpus / "raw" / "test.target")
    results = {"conditions": asked, "reference": reference, "runs": []}
    if file.exists() and (known := json.loads(file.read_text()))["conditions"] == asked:
        results = known
    for entrant in entrants(arguments):
        call(entrant, ["prepare", "--corpus", str(corpus)], arguments.work / "prepare.log")
        for seed in arguments.seeds:
            found = [r for r in results["runs"] if (r["label"], r["seed"]) == (entrant.label, seed)]
            if any(run["settings"] == entrant.settings.options for run in found):
                continue
            new = run_one(entrant, seed, corpus, arguments)
            results["runs"] = [run for run in results["runs"] if run not in found] + [new]
            file.write_text(json.dumps(results, indent=1, ensure_ascii=False))
    if not results["runs"]:
        sys.exit("no system to compare: give --venvs DIR")
    return results


def entrants(arguments: argparse.Namespace) -> Iterator[Entrant]:
    """Yield every system that can run here, with its settings."""
    for system in arguments.systems:
        if system == OURS:
            recipe = arguments.recipe or RECIPES / f"{arguments.data}.yaml"
            if not recipe.exists():
                sys.exit(f"{recipe} does not exist: give --recipe")
            settings = Settings(as_json(yaml.safe_load(recipe.read_text())), str(recipe))
            yield Entrant(OURS, Path(sys.executable), OURS, settings)
            continue
        python: Path | None = getattr(arguments, f"{system}_python")
        if python is None and arguments.venvs:
            python = make(system, arguments.venvs.resolve())
        if python is None:
            print(f"{system} is left out: no --{system}-python, no --venvs", file=sys.stderr)
            continue
        for variant in arguments.settings:
            label = f"{system}, {variant}"
            yield Entrant(system, python, label, settings_of(system, variant))


def call(entrant: Entrant, command: Sequence[str], log: Path) -> None:
    """Run a driver; on failure show the end of what it said, and stop."""
    driver = DRIVERS / f"{entrant.system}_driver.py"
    with log.open("a", encoding="utf-8") as file:
        run = [str(entrant.python), "-W", "ignore", str(driver), *command]
        code = subprocess.run(run, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        sys.exit("\n".join([*tail, f"{entrant.label}: {command[0]} failed; see {log}"]))


def run_one(
    entrant: Entrant, seed: int, corpus: Path, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Train once, translate ``dev`` with all weights and ``test`` with the best."""
    run = arguments.work / f"{entrant.label.replace(', ', '-')}-{seed}"
    common = ["--corpus", str(corpus), *begin(entrant, seed, run, arguments)]
    print(f"{entrant.label}, seed {seed}: training", file=sys.stderr)
    call(entrant, ["train", *common], run / "log")
    kept = evenly(json.loads((run / "checkpoints.json").read_text()), arguments)
    pieces = SentencePieceProcessor(model_file=str(corpus / "sentencepiece.model"))

    def translate(weights: str, split: str) -> tuple[list[str], float]:
        output = run / f"{split}.output"
        told = ["--weights", weights, "--split", split, "--output", str(output)]
        call(entrant, ["translate", *common, *told], run / "log")
        lines = lines_of(output)
        if entrant.system != OURS:  # which gives text
            lines = [pieces.decode(line.split()) for line in lines]
        reference = lines_of(corpus / "raw" / f"{split}.target")
        return lines, corpus_scores(lines, reference, MEASURE)["bleu"]

    curve: list[dict[str, float]] = []
    for one in kept:
        curve.append({"minutes": one["seconds"] / 60, "bleu": translate(one["path"], "dev")[1]})
        print(f"{entrant.label}: {curve[-1]}", file=sys.stderr)
    best = max(range(len(kept)), key=lambda i: curve[i]["bleu"])
    translations, bleu = translate(kept[best]["path"], "test")
    return {
        "label": entrant.label,
        "system": entrant.system,
        "version": version_of(entrant.system, entrant.python),
        "settings": entrant.settings.options,
        "source": entrant.settings.source,
        "seed": seed,
        "updates": kept[-1]["updates"],
        "minutes": curve[best]["minutes"],
        "bleu": bleu,
        "curve": curve,
        "translations": translations,
    }


def begin(entrant: Entrant, seed: int, run: Path, arguments: argparse.Namespace) -> list[str]:
    """Make an empty folder for a run; return what its driver is told about it."""
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    settings = run / "settings.json"
    settings.write_text(json.dumps(entrant.settings.options, default=str))
    told = ["--run", str(run), "--settings", str(settings), "--seed", str(seed)]
    told += ["--minutes", str(arguments.minutes), "--points", str(arguments.points)]
    return [*told, "--threads", str(arguments.threads)]


def evenly(kept: Sequence[dict[str, Any]], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return those of the kept weights nearest to the points of the curve."""
    every = 60 * arguments.minutes / arguments.points
    points = [every * (i + 1) for i in range(arguments.points)]
    nearest = {min(kept, key=lambda one: abs(one["seconds"] - p))["updates"] for p in points}
    return [one for one in kept if one["updates"] in nearest]


def as_json(tree: Any) -> Any:
    """Return a tree as JSON would give it back."""
    return json.loads(json.dumps(tree, default=str))


def lines_of(path: Path) -> list[str]:
    """Return the lines of a text, which only a newline ends."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def conditions(results: dict[str, Any]) -> str:
    """Return on what, and with what, the table was measured."""
    told = results["conditions"]
    sources = sorted({f"{run['label']}: {run['source']}" for run in results["runs"]})
    pairs = ", ".join(f"{name} {count:,}" for name, count in told["pairs"].items())
    first = (
        f"{told['minutes']:g} minutes of training, {told['threads']} cores, {told['processor']}; "
        f"{told['data']}, pairs: {pairs}; {told['vocabulary']:,} joint pieces; beam 5."
    )
    return "\n".join([first, *(f"- {source}" for source in sources)])


if __name__ == "__main__":
    main()
