"""Devices, memory, processors, signals and files; no machine learning.

- ``allocator``: prepare_memory
- ``cpu_count``: usable_cores
- ``determinism``: reproducible
- ``device``: DeviceName, place, use_threads, copy_to
- ``files/``: files, locks and text
- ``forks``: prepare_for_forks
- ``memory_limits``: largest_that_fits, peak_memory, share_of_cap, limit_memory_to_cgroup
- ``onednn``: multiplies_bf16
- ``out_of_memory``: is_out_of_memory, enough_memory, release, Halving, halves_of, attempt
- ``precision``: Precision, uses_bf16, substitution, autocast
- ``seeds``: MicroBatchSeeds, start_generators
- ``signals``: SIGNALS, Abandoned, Interruption
"""
