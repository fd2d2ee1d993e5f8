"""The table of renamed parameters in CHANGELOG.md: `python -m docs.generate.changelog` prints it from the schema."""

from __future__ import annotations

from docs.generate.markdown import code, table
from docs.generate.parameters import renamed


def renamed_parameters() -> str:
    return table(["0.1.0", "0.2.0"], [(code(old), code(new)) for old, new in renamed().items()])


if __name__ == "__main__":
    print(renamed_parameters())
