"""Image classifiers as files that run without seqtrans: ONNX, TorchScript, ``torch.export``.

- ``export_run``: export_run
- ``onnx``: Onnx
- ``torch_formats``: TorchScript, ExportedProgram
- ``verify``: FormatName

Used within: ``pixel_classifier``.
"""
