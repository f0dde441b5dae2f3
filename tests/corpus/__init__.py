"""Malformed model files, each with the codes and places that are expected of it.

`files/` holds the files and `expected.json` what is wrong with each, both made by `python -m tests.corpus`. A case is
written as the text of a file in which a mark such as ⟨GE210⟩ stands before every place where an error is expected. So the
places are found by taking the marks out, and not by the code that is tested.
"""
