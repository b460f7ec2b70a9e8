"""Where the numbers and the words of a run go."""
