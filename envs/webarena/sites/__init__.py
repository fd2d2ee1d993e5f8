"""Small web sites of the project's own, over one SQLite database per episode."""
