"""Commands that look into runs.

- ``attention``: attention
- ``beams``: beams
- ``show``: show
"""
