"""Where the numbers and messages of a run go.

- ``loggers``: JsonLinesLogger, ConsoleLogger, speaking, silent
- ``metric_window``: MetricWindow
- ``nonfinite``: describe, advice
- ``plots``: read_curves, draw_curves, draw_confusion
- ``tensorboard``: TensorBoardLogger
"""
