"""Image classification: data, models, pre-trained weights and export."""
