"""Commands that look into runs.

- ``attention``: attention
- ``beams``: beams
- ``embeddings``: embeddings
- ``show``: show
- ``vocabulary``: vocabulary
"""
