"""``seqtrans keys``: what a recipe may say."""

import sys
from typing import Annotated, Literal

import typer


def keys(
    key: Annotated[
        str,
        typer.Argument(help="Show only this key and the keys below it. [all]", show_default=False),
    ] = "",
    *,
    task: Annotated[
        Literal["translation", "classification"], typer.Option(help="Kind of recipe.")
    ] = "translation",
    output_format: Annotated[
        Literal["text", "schema"],
        typer.Option("--format", help="Text, or a JSON Schema for completion in editors."),
    ] = "text",
) -> None:
    """List the keys of a recipe with their defaults and meanings."""
    from seqtrans import config
    from seqtrans.cli.text_io import print_data
    from seqtrans.errors import SeqtransError
    from seqtrans.recipe.load import recipe_class
    from seqtrans.runtime.files.strict_json import as_json

    cls = recipe_class(task)
    if output_format == "text":
        sys.stdout.write(config.described(cls, key))
    elif key:
        raise SeqtransError("--format schema is that of a whole recipe; leave out the key")
    else:
        print_data(as_json(config.json_schema(cls), indent=1) + "\n")
