"""The numbers of one evaluation, step by step, and the words that explain them."""
