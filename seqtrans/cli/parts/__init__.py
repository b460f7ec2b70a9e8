"""Parts of commands that are too long for one file.

- ``bulk``: translate_in_bulk
- ``evaluate_classifier``: evaluate_run, judged
- ``pages``: attention_page, tree_page
"""
