"""What a recipe of an image classifier may say, and the parts it describes."""
