"""What a recipe of a translation run may say, and the parts it describes."""
