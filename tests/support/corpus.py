"""English sentences written by a seeded grammar: the text behind the tests' tokenizers and data."""

from __future__ import annotations

import random

PEOPLE = (
    *("Anna Keller", "Tom Hardy", "Maria Silva", "John O'Neil", "Li Wei", "Priya Nair"),
    *("José Álvarez", "Sven Larsson", "Grace Hopper", "Omar Haddad", "Ivan Petrov", "Ruth Cohen"),
)
PLACES = (
    *("Berlin", "Paris", "New York", "São Paulo", "Nairobi", "Tokyo", "Zürich", "Cape Town"),
    *("Oslo", "Lake Geneva", "Dublin", "Mexico City"),
)
ORGANISATIONS = (
    *("Northwind", "Acme Corp", "Blue Harbor Bank", "Orion Labs", "Red Cross", "Helix Motors"),
    *("Summit Press", "Delta Foods", "Quiet Sea Ltd", "City Museum"),
)
POSITIVE = (
    *("gripping", "wonderful", "charming", "brilliant", "touching", "delightful", "fresh", "honest"),
    *("superb", "funny", "elegant", "warm", "rewarding", "well-made", "unforgettable", "clever"),
)
NEGATIVE = (
    *("dull", "awful", "boring", "clumsy", "tedious", "bleak", "predictable", "noisy"),
    *("painful", "shallow", "lifeless", "confused", "stale", "forgettable", "badly-cut", "cheap"),
)
THINGS = (
    *("film", "story", "plot", "camera", "battery", "phone", "book", "novel", "soundtrack", "script"),
    *("hotel", "meal", "waiter", "screen", "keyboard", "ending", "cast", "director", "service", "update"),
)
ADVERBS = ("really", "quite", "never", "always", "surprisingly", "almost", "deeply", "hardly", "often")
VERBS = ("visited", "joined", "left", "praised", "founded", "sued", "called", "met", "bought", "described")
TIMES = ("yesterday", "in 1998", "last week", "on Monday", "at 9:30", "in spring", "after 14 days", "today")
SUBJECTS = ("engine", "bridge", "river", "library", "treaty", "telescope", "festival", "harbor", "garden")
EVENTS = ("opened", "was built", "was repaired", "closed", "was painted", "was moved", "was measured")


def opinion(rng: random.Random, positive: bool) -> str:
    """One sentence of praise or of complaint."""
    words = POSITIVE if positive else NEGATIVE
    first, second = rng.sample(words, 2)
    thing, other = rng.sample(THINGS, 2)
    forms = (
        f"The {thing} is {rng.choice(ADVERBS)} {first}.",
        f"a {first} , {second} {thing} with a {rng.choice(words)} {other}",
        f"I {rng.choice(ADVERBS)} thought that the {thing} was {first}, and the {other} was {second} too!",
        f"{first} and {second}: that is the {thing}",
        f"It 's a {first} {thing} , {rng.choice(ADVERBS)} {second} , and i watched it {rng.choice(TIMES)} .",
        f"Isn't this {other} {first}? The {thing} cost {rng.randint(2, 900)} dollars.",
        f'the 6" {thing} is {first} , the {other} {second} .',
        f'They said "{first}" about the {thing}; we would say {second} (or {rng.choice(words)}).',
    )
    return rng.choice(forms)


def news(rng: random.Random) -> list[tuple[str, str]]:
    """One sentence as (words, entity type) parts; the type is empty outside of entities."""
    person, place, company = rng.choice(PEOPLE), rng.choice(PLACES), rng.choice(ORGANISATIONS)
    verb, when = rng.choice(VERBS), rng.choice(TIMES)
    forms: tuple[list[tuple[str, str]], ...] = (
        [(person, "PER"), (verb, ""), (company, "ORG"), (f"{when} .", "")],
        [(person, "PER"), ("of", ""), (company, "ORG"), (f"{verb} staff in", ""), (place, "LOC"), (".", "")],
        [("The office of", ""), (company, "ORG"), ("in", ""), (place, "LOC"), (f"closed {when} .", "")],
        [(place, "LOC"), (f"is where the {rng.choice(THINGS)} of", ""), (person, "PER"), ("was sold .", "")],
        [(f"Nobody {verb} the {rng.choice(SUBJECTS)} {when} , they said .", "")],
    )
    return rng.choice(forms)


def fact(rng: random.Random) -> tuple[str, str, str]:
    """A statement, a question about it, and the answer as it stands in the statement."""
    subject, event, place = rng.choice(SUBJECTS), rng.choice(EVENTS), rng.choice(PLACES)
    year, person = str(rng.randint(1700, 2020)), rng.choice(PEOPLE)
    statement = f"The {subject} of {place} {event} in {year} by {person}."
    question, answer = rng.choice(
        (
            (f"When was the {subject} of {place} mentioned?", year),
            (f"Which place has the {subject}?", place),
            (f"Who is named with the {subject} of {place}?", person),
        )
    )
    return statement, question, answer


def sentences(count: int, seed: int = 0) -> list[str]:
    """Varied sentences: opinions, news and facts in turn."""
    rng = random.Random(seed)
    out: list[str] = []
    for index in range(count):
        if index % 3 == 0:
            out.append(opinion(rng, positive=bool(rng.getrandbits(1))))
        elif index % 3 == 1:
            out.append(" ".join(words for words, _ in news(rng)))
        else:
            out.append(fact(rng)[0])
    return out
