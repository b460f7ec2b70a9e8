"""Optimizers, schedules and what they apply to."""
