"""What computes the distribution of the next token besides a plain output layer.

- ``copying``: CopyingOutput, CopyState, CopyFeatures
- ``shortlist``: Shortlisted, with_shortlist
"""
