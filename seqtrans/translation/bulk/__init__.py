"""Bulk translation: many files, by many processes; an interrupted job continues where it was.

Used within: ``job_directory``, ``local_engine``, ``ray_engine``, ``shard_translator``,
``worker_main``.
"""

from seqtrans.translation.bulk.driver import Engine, Means, Progress, translate_files
from seqtrans.translation.bulk.job_spec import Work, describe

__all__ = ["Engine", "Means", "Progress", "Work", "describe", "translate_files"]
