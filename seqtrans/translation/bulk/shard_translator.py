"""Translate the shards of a job, within one of its processes."""

from collections.abc import Iterator
from pathlib import Path

from seqtrans.errors import CheckpointError
from seqtrans.runtime.device import DeviceName, use_threads
from seqtrans.translation.bulk.job_directory import load_job
from seqtrans.translation.bulk.job_spec import seal_of
from seqtrans.translation.inference.translator import render
from seqtrans.translation.recipe.load_run import load_run


class ShardTranslator:
    """Translates shards of a job and stores the translations in its folder.

    Args:
        folder: Folder of the job, ``Job.folder``.
        device: Where to compute.
        threads: Processor cores to use.

    Raises:
        SeqtransError: The job or the model can't be read, or has changed.
    """

    def __init__(self, folder: Path, device: DeviceName, threads: int) -> None:
        self._job = load_job(folder)
        work = self._job.work
        checkpoint = Path(work.checkpoint)
        if seal_of(Path(work.run), checkpoint, work.decoding) != work.seal:
            changed = f"{checkpoint}, or the lexicon," if work.decoding["shortlist"] else checkpoint
            raise CheckpointError(f"{changed} has changed since the job in {folder} began")
        use_threads(threads)
        run = load_run(Path(work.run), checkpoint.name)
        config = run.decoding(work.decoding, place=str(folder))
        self._translator = run.translator(config, device, work.precision, work.details)

    def translate(self, number: int) -> None:
        """Translate a shard, unless it is done."""
        if not self._job.is_done(number):
            self._job.finish(number, self._lines(number))

    def _lines(self, number: int) -> Iterator[str]:
        work, text = self._job.work, self._job.text(number)
        for translation in self._translator.stream_blocks(text, work.shard_lines):
            yield render(translation, work.output_format)
