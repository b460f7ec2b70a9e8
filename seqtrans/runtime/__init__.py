"""Devices, memory, processors, signals and files; no machine learning.

- ``cpu_count``: usable_cores
- ``device``: DeviceName, Precision, place, copy_to, uses_bf16, substitution, autocast,
  reproducible, use_threads, prepare_for_forks, multiplies_bf16
- ``files/``: files, locks and text
- ``memory``: prepare_memory, limit_memory_to_cgroup, largest_that_fits, peak_memory, share_of_cap
- ``out_of_memory``: is_out_of_memory, enough_memory, release, Halving, halves_of, attempt
- ``seeds``: MicroBatchSeeds, start_generators
- ``signals``: SIGNALS, Abandoned, Interruption
"""
