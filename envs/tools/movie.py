"""Movie: questions about films and people, answered with tools.

Invariant: the result of a tool depends on its arguments alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

from envs.base import Sizes
from envs.tools.base import ToolEnv, ToolError, tool
from envs.tools.movie_database import COUNTRIES, LANGUAGES, movie_database
from envs.tools.movie_problems import TEMPLATES
from envs.tools.problem import Problem, generate_problems


class Movie(ToolEnv):
    """Questions about films, after AgentBoard's tool-query tasks as AgentGym serves them.

    Observation: first the goal, then the result of each call, as JSON. Actions: one call per round, `name with Action Input: {...}`; the
    tools and their arguments are those of AgentGym's movie environment. Reward: 1 if `finish` gets the right answer (a list in any order),
    else 0; it ends the episode. At most 12 rounds. Instructions: 238 from ten templates, 20 of them eval; difficulty is the number of
    calls.

    Differences from AgentGym's environment:
    - 400 invented films and 260 invented people, generated from a seed; AgentGym uses a web service that needs a key and changes.
    - Only `finish` gives an answer; in AgentGym, any tool result that happens to equal the answer counts.
    - Only a call of `finish` ends an episode, and arguments are parsed, not evaluated.
    """

    name: ClassVar[str] = "movie"
    version: ClassVar[int] = 2
    task_types: ClassVar[tuple[str, ...]] = ("movie",)
    sizes: ClassVar[Sizes] = Sizes(instructions=238, eval=20, agent_traj=100, agent_traj_l=215)
    max_rounds: ClassVar[int] = 12
    intro: ClassVar[str] = "Answer the question about films and people with the tools."

    @classmethod
    def problems(cls) -> tuple[Problem, ...]:
        return _problems()

    @tool
    def get_search_movie(self, movie_name: str) -> list[dict[str, Any]]:
        """films of that title, with their ids"""
        rows = _rows("SELECT id, title, release_date FROM film WHERE title LIKE ? ORDER BY title LIMIT 5", f"%{_like_pattern(movie_name)}%")
        return _require(rows, "There is no film of that name.")

    @tool
    def get_movie_details(self, movie_id: int) -> dict[str, Any]:
        """date, runtime, budget, revenue, votes, genre"""
        return _require(_rows("SELECT * FROM film WHERE id = ?", movie_id), _NO_FILM)[0]

    @tool
    def get_movie_production_companies(self, movie_id: int) -> list[str]:
        """who made it"""
        return [row["name"] for row in self._film_rows(movie_id, "SELECT name FROM company WHERE film = ? ORDER BY name")]

    @tool
    def get_movie_production_countries(self, movie_id: int) -> list[str]:
        """where it was made"""
        return [COUNTRIES[row["code"]] for row in self._film_rows(movie_id, "SELECT code FROM country WHERE film = ? ORDER BY code")]

    @tool
    def get_movie_cast(self, movie_id: int) -> list[dict[str, Any]]:
        """who plays whom, the leading role first"""
        query = "SELECT p.id, p.name, c.role FROM cast_member c JOIN person p ON p.id = c.person WHERE c.film = ? ORDER BY c.place"
        return self._film_rows(movie_id, query)

    @tool
    def get_movie_crew(self, movie_id: int) -> list[dict[str, Any]]:
        """director, writer, composer, editor"""
        query = "SELECT p.id, p.name, c.job FROM crew_member c JOIN person p ON p.id = c.person WHERE c.film = ? ORDER BY c.job"
        return self._film_rows(movie_id, query)

    @tool
    def get_movie_keywords(self, movie_id: int) -> list[str]:
        """what it is about"""
        return [row["word"] for row in self._film_rows(movie_id, "SELECT word FROM keyword WHERE film = ? ORDER BY word")]

    @tool
    def get_movie_alternative_titles(self, movie_id: int) -> list[dict[str, Any]]:
        """its titles in other countries"""
        return [
            {"country": COUNTRIES[row["code"]], "title": row["title"]}
            for row in self._film_rows(movie_id, "SELECT code, title FROM alternative WHERE film = ? ORDER BY code")
        ]

    @tool
    def get_movie_translation(self, movie_id: int) -> list[dict[str, Any]]:
        """its titles in other languages"""
        return [
            {"language": LANGUAGES[row["language"]], "title": row["title"]}
            for row in self._film_rows(movie_id, "SELECT language, title FROM translation WHERE film = ? ORDER BY language")
        ]

    @tool
    def get_search_person(self, person_name: str) -> list[dict[str, Any]]:
        """people of that name, with their ids"""
        rows = _rows("SELECT id, name FROM person WHERE name LIKE ? ORDER BY name LIMIT 5", f"%{_like_pattern(person_name)}%")
        return _require(rows, "There is nobody of that name.")

    @tool
    def get_person_details(self, person_id: int) -> dict[str, Any]:
        """birthday and place of birth"""
        return _require(_rows("SELECT id, name, birthday, place_of_birth FROM person WHERE id = ?", person_id), _NO_PERSON)[0]

    @tool
    def get_person_cast(self, person_id: int) -> list[dict[str, Any]]:
        """the films somebody plays in"""
        return self._person_rows(
            person_id, "SELECT f.id, f.title, c.role FROM cast_member c JOIN film f ON f.id = c.film WHERE c.person = ?"
        )

    @tool
    def get_person_crew(self, person_id: int) -> list[dict[str, Any]]:
        """the films somebody worked on"""
        return self._person_rows(
            person_id, "SELECT f.id, f.title, c.job FROM crew_member c JOIN film f ON f.id = c.film WHERE c.person = ?"
        )

    @tool
    def get_person_external_ids(self, person_id: int) -> dict[str, Any]:
        """somebody's ids elsewhere"""
        return _require(_rows("SELECT imdb_id, facebook_id FROM person WHERE id = ?", person_id), _NO_PERSON)[0]

    def _film_rows(self, film: int, query: str) -> list[dict[str, Any]]:
        _require(_rows("SELECT id FROM film WHERE id = ?", film), _NO_FILM)
        return _rows(query, film)

    def _person_rows(self, person: int, query: str) -> list[dict[str, Any]]:
        _require(_rows("SELECT id FROM person WHERE id = ?", person), _NO_PERSON)
        return _rows(f"{query} ORDER BY f.release_date", person)


_NO_FILM = "There is no film of that id; get_search_movie gives ids."
_NO_PERSON = "There is nobody of that id; get_search_person gives ids."


def _rows(query: str, value: int | str) -> list[dict[str, Any]]:
    return [dict(row) for row in movie_database().execute(query, (value,))]


def _require(rows: list[dict[str, Any]], message: str) -> list[dict[str, Any]]:
    if not rows:
        raise ToolError(message)
    return rows


def _like_pattern(name: str) -> str:
    """A name for a LIKE pattern, without wildcards of its own and cut to 60 characters."""
    return name.strip().replace("%", "").replace("_", "")[:60]


@lru_cache(maxsize=None)
def _problems() -> tuple[Problem, ...]:
    return generate_problems(TEMPLATES, Movie.sizes.instructions, "movie problems")
