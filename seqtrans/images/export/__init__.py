"""Image classifiers as files that run without seqtrans: ONNX, TorchScript, ``torch.export``."""
