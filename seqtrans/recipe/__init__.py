"""Recipes: the typed description of a run, of any task, and what is done with one.

Each module finds the application, ``translation`` or ``images``, that a recipe is for, and imports
that one alone, when it is asked.

- ``load``: read a recipe, or the one that a run stores; prepare what it describes
- ``resume``: the recipe of a run that goes on
- ``ship_run``: a copy of a run for use elsewhere
"""
