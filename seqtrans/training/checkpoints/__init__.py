"""Checkpoints: their format, which of them stay, and the run directory.

- ``find``: stored_recipe_of, find_checkpoint
- ``format``: STATE, read_inference_weights
- ``manager``: CheckpointManager
- ``provenance``: DATA, Origins, model_settings
- ``resume_checks``: refuse_changes
- ``run_directory``: AVERAGED, RunDirectory, writing, create, open_run
- ``store``: CheckpointStore
- ``weights``: RowMap, named_weights, other_formats, fill, carry_over, differences,
  average

Used within: ``state_schema``.
"""
