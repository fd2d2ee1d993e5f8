"""The templates of Movie's questions, each with the calls that answer it."""

from __future__ import annotations

import random
from typing import Any

from envs.tools.movie_database import COUNTRIES, JOBS, LANGUAGES, movie_database
from envs.tools.problem import Call, Problem, Template


def _random_title(rng: random.Random) -> str:
    return str(rng.choice([row[0] for row in movie_database().execute("SELECT title FROM film ORDER BY id")]))


def _random_person(rng: random.Random, table: str) -> str:
    """The name of a person with two films or more in a table (cast_member or crew_member)."""
    query = f"SELECT p.name FROM person p JOIN {table} c ON c.person = p.id GROUP BY p.id HAVING COUNT(*) > 1 ORDER BY p.id"
    return str(rng.choice([row[0] for row in movie_database().execute(query)]))


def _find_film(call: Call, title: str) -> int:
    films = call(f"I look for the film {title}.", "get_search_movie", movie_name=title)
    return int(next(film["id"] for film in films if film["title"] == title))


def _find_person(call: Call, name: str) -> int:
    return int(call(f"I look for {name}.", "get_search_person", person_name=name)[0]["id"])


def film_attribute(rng: random.Random) -> Problem:
    title = _random_title(rng)
    attribute, question = rng.choice(
        [
            ("runtime", "How many minutes does {} run?"),
            ("budget", "What was the budget of {}?"),
            ("revenue", "What revenue did {} make?"),
            ("release_date", "When was {} released?"),
            ("vote_average", "What is the average vote of {}?"),
            ("genre", "Which genre is {}?"),
        ]
    )

    def solve(call: Call) -> Any:
        return call("Its details have that.", "get_movie_details", movie_id=_find_film(call, title))[attribute]

    return Problem(question.format(title), "2 calls", solve)


def crew_member(rng: random.Random) -> Problem:
    title, job = _random_title(rng), rng.choice(JOBS)

    def solve(call: Call) -> Any:
        crew = call(f"The crew says who the {job.lower()} was.", "get_movie_crew", movie_id=_find_film(call, title))
        return next(member["name"] for member in crew if member["job"] == job)

    return Problem(f"Who was the {job.lower()} of {title}?", "2 calls", solve)


def film_list(rng: random.Random) -> Problem:
    title = _random_title(rng)
    tool_name, question = rng.choice(
        [
            ("get_movie_production_companies", "Which companies produced {}?"),
            ("get_movie_production_countries", "In which countries was {} produced?"),
            ("get_movie_keywords", "Which keywords does {} have?"),
        ]
    )

    def solve(call: Call) -> Any:
        return call("I ask for that list.", tool_name, movie_id=_find_film(call, title))

    return Problem(question.format(title), "2 calls", solve)


def translated_title(rng: random.Random) -> Problem:
    title = _random_title(rng)
    film = next(row[0] for row in movie_database().execute("SELECT id FROM film WHERE title = ?", (title,)))
    table, key = rng.choice([("alternative", "country"), ("translation", "language")])
    tool_name = "get_movie_alternative_titles" if key == "country" else "get_movie_translation"
    column, names = ("code", COUNTRIES) if key == "country" else ("language", LANGUAGES)
    code = rng.choice([row[0] for row in movie_database().execute(f"SELECT {column} FROM {table} WHERE film = ? ORDER BY 1", (film,))])
    place = names[code]

    def solve(call: Call) -> Any:
        titles = call("I ask for its other titles.", tool_name, movie_id=_find_film(call, title))
        return next(entry["title"] for entry in titles if entry[key] == place)

    return Problem(f"What is {title} called in {place}?", "2 calls", solve)


def leading_actor(rng: random.Random) -> Problem:
    title = _random_title(rng)
    attribute, word = rng.choice([("birthday", "When"), ("place_of_birth", "Where")])

    def solve(call: Call) -> Any:
        cast = call("The cast has the leading role first.", "get_movie_cast", movie_id=_find_film(call, title))
        return call("Now the actor's details.", "get_person_details", person_id=cast[0]["id"])[attribute]

    return Problem(f"{word} was the actor of the leading role of {title} born?", "3 calls", solve)


def role_in_film(rng: random.Random) -> Problem:
    name = _random_person(rng, "cast_member")
    query = "SELECT f.title FROM cast_member c JOIN film f ON f.id = c.film JOIN person p ON p.id = c.person WHERE p.name = ? ORDER BY f.id"
    title = rng.choice([row[0] for row in movie_database().execute(query, (name,))])

    def solve(call: Call) -> Any:
        films = call("I ask what this person plays in.", "get_person_cast", person_id=_find_person(call, name))
        return next(film["role"] for film in films if film["title"] == title)

    return Problem(f"Which role does {name} play in {title}?", "2 calls", solve)


def filmography(rng: random.Random) -> Problem:
    name, table = _random_person(rng, "cast_member"), rng.choice(["cast", "cast", "crew"])
    if table == "crew":
        name = _random_person(rng, "crew_member")

    def solve(call: Call) -> Any:
        films = call("I ask for the films.", f"get_person_{table}", person_id=_find_person(call, name))
        return sorted({film["title"] for film in films})

    return Problem(f"Which films did {name} {'play in' if table == 'cast' else 'work on'}?", "2 calls", solve)


def person_attribute(rng: random.Random) -> Problem:
    name = _random_person(rng, "cast_member")
    tool_name, attribute, question = rng.choice(
        [
            ("get_person_details", "birthday", "When was {} born?"),
            ("get_person_details", "place_of_birth", "In which country was {} born?"),
            ("get_person_external_ids", "imdb_id", "What is the IMDb id of {}?"),
        ]
    )

    def solve(call: Call) -> Any:
        return call("I ask about this person.", tool_name, person_id=_find_person(call, name))[attribute]

    return Problem(question.format(name), "2 calls", solve)


def compare_films(rng: random.Random) -> Problem:
    title1, title2 = _random_title(rng), _random_title(rng)
    attribute, word = rng.choice(
        [("runtime", "longer"), ("budget", "more expensive"), ("vote_average", "better voted"), ("release_date", "newer")]
    )

    def solve(call: Call) -> str:
        value1, value2 = (
            call(f"Now the details of {title}.", "get_movie_details", movie_id=_find_film(call, title))[attribute]
            for title in (title1, title2)
        )
        return title1 if value1 >= value2 else title2

    return Problem(f"Which film is {word}, {title1} or {title2}?", "4 calls", solve)


def films_by_director(rng: random.Random) -> Problem:
    title, job = _random_title(rng), "Director"

    def solve(call: Call) -> Any:
        crew = call("The crew says who directed it.", "get_movie_crew", movie_id=_find_film(call, title))
        director = next(member["id"] for member in crew if member["job"] == job)
        films = call("Now the films this person worked on.", "get_person_crew", person_id=director)
        return sum(film["job"] == job for film in films)

    return Problem(f"How many films did the director of {title} direct in all, that one included?", "3 calls", solve)


TEMPLATES: tuple[Template, ...] = (
    film_attribute,
    crew_member,
    film_list,
    translated_title,
    leading_actor,
    role_in_film,
    filmography,
    person_attribute,
    compare_films,
    films_by_director,
)
