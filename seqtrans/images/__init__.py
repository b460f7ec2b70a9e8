"""Image classification, an application of ``training``: data, models, weights of others, export.

- ``classifier``: ReadyClassifier, open_classifier, images_of
- ``confusion_matrix``: Confusion
- ``data/``: images in memory, augmented and put into batches
- ``error_analysis``: Mistake, Judgement, judge
- ``export/``: image classifiers as files that run without seqtrans
- ``models/``: image models
- ``pretrained/``: weights of others for image models
- ``recipe/``: what a recipe of an image classifier may say, and how its parts are put together
- ``task``: ClassificationTask, to_model_memory_format, classify
"""
