"""One command for a GPU: `python -m benchmarks.gpu` (benchmarks/gpu/__main__.py)."""
