"""Checkpoints: format, store, retention, and the run directory."""
