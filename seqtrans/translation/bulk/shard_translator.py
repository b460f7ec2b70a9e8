"""Translating one shard after the other, within one process of a job."""

from collections.abc import Iterator
from pathlib import Path

from seqtrans.errors import CheckpointError
from seqtrans.runtime.device import DeviceName, use_threads
from seqtrans.translation.bulk.job_directory import load_job
from seqtrans.translation.bulk.job_spec import seal_of
from seqtrans.translation.inference.output_format import render
from seqtrans.translation.inference.translator import Translator
from seqtrans.translation.recipe.load_run import load_run


class ShardTranslator:
    """Translates shards of a job and puts them into its folder.

    Args:
        folder: The job's own folder.
        device: Where to compute.
        threads: Processor cores to use.

    Raises:
        SeqtransError: The job or the model can't be read here, or has changed.
    """

    def __init__(self, folder: Path, device: DeviceName, threads: int) -> None:
        self._job = load_job(folder)
        work = self._job.work
        checkpoint = Path(work.checkpoint)
        if seal_of(checkpoint) != work.seal:
            raise CheckpointError(f"{checkpoint} has changed since the job in {folder} began")
        use_threads(threads)
        run = load_run(Path(work.run), checkpoint.name)
        config = run.decoding(work.decoding, place=str(folder))
        self._translator = Translator(run.model, run.segmenters, config, device, work.precision)

    def translate(self, number: int) -> None:
        """Translate a shard, unless that is done."""
        if not self._job.is_done(number):
            self._job.finish(number, self._lines(number))

    def _lines(self, number: int) -> Iterator[str]:
        work, text = self._job.work, self._job.text(number)
        for translation in self._translator.stream_blocks(text, work.shard_lines):
            yield render(translation, work.output_format)
