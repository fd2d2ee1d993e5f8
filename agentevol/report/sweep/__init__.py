"""The report of a sweep: one page that needs no network, from the runs of a grid over M, K, seeds and learning rules."""
