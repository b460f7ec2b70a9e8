"""Bulk translation: many files by many processes; what is done is never done again."""

from seqtrans.bulk.running import Engine, Means, Progress, translate_files
from seqtrans.bulk.work import Work, describe

__all__ = ["Engine", "Means", "Progress", "Work", "describe", "translate_files"]
