"""Optimizers, schedules, and which weights they change.

- ``ema``: Average, MovingAverage
- ``freezing``: Freezing
- ``optimizer``: build_optimizer, set_rates, moments_per_weight, Stepper, Gradients,
  read
- ``optimizer_config``: AdamConfig, AdafactorConfig, ScheduleFreeAdamWConfig, OptimizerConfig
- ``schedule``: Schedule, InverseSquareRootConfig, ConstantConfig, ScheduleConfig, build_schedule,
  lower_on_plateau
- ``schedule_advice``: warn_of_rates
- ``schedule_free``: ScheduleFreeAverage

Used within: ``muon``, ``name_patterns``.
"""
