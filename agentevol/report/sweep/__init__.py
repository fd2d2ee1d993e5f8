"""A sweep's report: from the runs of a grid over M, K, seeds and rules to one page that needs no network."""
