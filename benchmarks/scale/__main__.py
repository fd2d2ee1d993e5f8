"""`python -m benchmarks.scale`: the steps on one dataset."""

from __future__ import annotations

from benchmarks.scale.datasets import main

if __name__ == "__main__":
    main()
