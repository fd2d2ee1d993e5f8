"""Episodes to read in a browser: one HTML file that needs no network."""
