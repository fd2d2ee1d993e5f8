"""The pages of the documentation that are generated from the code when the site is built (`make docs`).

Invariant: nothing here repeats what the code already states; a page is a view of classes, parameters, commands and docstrings.
"""
