"""Translation: text, models, search and metrics on the trainer that knows none of them."""
