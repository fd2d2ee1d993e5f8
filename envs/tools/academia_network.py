"""Invented papers and authors as two graphs: citations between papers, and joint work of authors.

Invariant: the same graphs on every machine, drawn from a seed.
"""

from __future__ import annotations

import random
from functools import lru_cache
from itertools import combinations
from typing import Any

_NUM_PAPERS, _NUM_AUTHORS = 300, 90
_GIVEN_NAMES = "Anna,Bela,Carl,Dora,Emil,Frida,Gustav,Hedda,Ivo,Jana,Karel,Lena,Milan,Nora,Oskar".split(",")
_FAMILY_NAMES = "Arndt,Bauer,Czerny,Dietz,Eklund,Fuchs,Geiger,Haas,Ivarsson,Jelinek,Krause,Lang".split(",")
_METHODS = "Learning,Parsing,Ranking,Planning,Sampling,Indexing,Pruning,Routing,Hashing,Scheduling".split(",")
_SUBJECTS = "Graphs,Dialogues,Queries,Proofs,Signals,Programs,Tables,Maps,Streams,Images".split(",")
_SETTINGS = "with Few Labels,at Scale,under Noise,by Search,in Real Time,from Feedback".split(",")
_VENUES = ["Journal of Machines", "Proceedings of Data", "Letters on Networks", "Annals of Language"]


class Network:
    """Papers and authors with their attributes; the edges are citations (citing, cited) and joint papers by pair of authors."""

    def __init__(self) -> None:
        rng = random.Random("academia")
        names = [f"{given} {family}" for given in _GIVEN_NAMES for family in _FAMILY_NAMES]
        titles = [f"{method} {subject} {setting}" for method in _METHODS for subject in _SUBJECTS for setting in _SETTINGS]
        rng.shuffle(names)
        rng.shuffle(titles)
        authors_pool = names[:_NUM_AUTHORS]
        self.papers: dict[str, dict[str, Any]] = {}
        self.citations: dict[tuple[str, str], None] = {}
        self.joint_papers: dict[tuple[str, ...], list[str]] = {}
        for number, title in enumerate(titles[:_NUM_PAPERS]):
            start = rng.randrange(_NUM_AUTHORS)
            authors = sorted({authors_pool[(start + rng.randrange(7)) % _NUM_AUTHORS] for _ in range(rng.randrange(2, 5))})
            self.papers[title] = {"authors": authors, "year": 1998 + number // 12, "venue": rng.choice(_VENUES)}
            for cited in rng.sample(titles[:number], min(number, rng.randrange(1, 4))):
                self.citations[title, cited] = None
            for pair in combinations(authors, 2):
                self.joint_papers.setdefault(pair, []).append(title)
        institutions = ("Norwell University", "Institute of Linton", "Eastham College", "Brayford Laboratory")
        self.authors = {
            name: {
                "papers": [title for title, paper in self.papers.items() if name in paper["authors"]],
                "institution": rng.choice(institutions),
            }
            for name in authors_pool
        }


@lru_cache(maxsize=None)
def network() -> Network:
    return Network()
