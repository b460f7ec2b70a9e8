"""What training does when memory runs out.

- ``oom_retry``: PartTooLargeError, OomRecovery, indivisible, smallest
- ``size_limits``: MicroBatchSizeLimits

Used within: ``buffer_snapshot``.
"""
