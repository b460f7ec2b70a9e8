"""Where the numbers and messages of a run go.

- ``loggers``: JsonLinesLogger, ConsoleLogger, log_to_stderr, log_errors_only
- ``metric_window``: MetricWindow
- ``nonfinite``: describe, advice
- ``plots``: read_curves, draw_curves, draw_confusion
- ``tensorboard``: TensorBoardLogger
"""
