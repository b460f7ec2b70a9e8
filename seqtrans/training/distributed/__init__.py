"""Several processes that train one model.

- ``failure_reports``: ElsewhereError, in_contact, should_report
- ``launch``: launch, follow_launcher
- ``parallel_updater``: build_updater
- ``process_group``: TorchProcessGroup, all_or_none, leave
- ``rendezvous``: Rendezvous, ALONE, connect
- ``restarts``: job, is_owned_by, write_owner
- ``sharded_tensors``: is_part, in_parts, own_part, gathered, assign, part_of
- ``single_process``: SINGLE_PROCESS, SingleReplica
- ``wrappers``: Replica, ParallelReplica, compiled, shard_weights, replicate, DataParallel,
  unshard_for_inference

Used within: ``gradient_sync``.
"""
