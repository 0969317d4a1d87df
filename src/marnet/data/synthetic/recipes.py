"""What is in a dish: classes as combinations of key ingredients, one recipe for each sample, and its text.

A class is a set of `KEYS_PER_CLASS` key ingredients; base, vessel, garnishes, amounts and wording vary from sample to
sample. Classes come in families that differ in one ingredient, often one that is hard to see. Key ingredients and
garnishes share no member, so the set of key ingredients in a text decides the class. All of it is ours.
"""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

KEYS_PER_CLASS = 4

# What a text may call each key ingredient. No wording of one contains a wording of another.
KEY_INGREDIENTS: dict[str, tuple[str, ...]] = {
    "bean sprouts": ("bean sprouts", "beansprouts"),
    "beef": ("beef", "beef cubes", "diced beef"),
    "broccoli": ("broccoli", "broccoli florets"),
    "carrot": ("carrot", "sliced carrot", "carrots"),
    "cashews": ("cashews", "cashew nuts"),
    "chicken": ("chicken", "chicken strips"),
    "corn": ("corn", "sweetcorn"),
    "cucumber": ("cucumber", "sliced cucumber"),
    "egg": ("egg", "boiled egg", "eggs"),
    "garlic": ("garlic", "chopped garlic"),
    "ginger": ("ginger", "shredded ginger"),
    "mushrooms": ("mushrooms", "sliced mushrooms"),
    "nori": ("nori", "seaweed"),
    "olives": ("olives", "olive rings"),
    "peas": ("peas", "green peas"),
    "prawns": ("prawns", "shrimp"),
    "red onion": ("red onion", "sliced red onion"),
    "sweet potato": ("sweet potato", "diced sweet potato"),
    "tofu": ("tofu", "tofu cubes", "bean curd"),
    "tomato": ("tomato", "sliced tomato", "tomatoes"),
}
# Small, or nearly the colour of the base: what the eye misses and the text does not.
HARD_TO_SEE = ("bean sprouts", "cashews", "chicken", "garlic", "ginger", "tofu")
GARNISHES: dict[str, tuple[str, ...]] = {
    "basil": ("basil", "basil leaves"),
    "black pepper": ("black pepper", "cracked pepper"),
    "chilli": ("chilli", "sliced chilli", "hot chilli"),
    "coriander": ("coriander", "cilantro"),
    "lime": ("lime", "a slice of lime"),
    "sesame": ("sesame", "sesame seeds"),
    "spring onion": ("spring onion", "chopped spring onion", "scallion"),
}
BASES: dict[str, tuple[str, ...]] = {
    "broth": ("broth", "clear soup"),
    "couscous": ("couscous",),
    "curry": ("curry sauce", "curry"),
    "leaves": ("salad leaves", "lettuce"),
    "noodles": ("noodles", "wheat noodles"),
    "rice": ("rice", "steamed rice"),
}
VESSELS = ("bowl", "plate")
LIQUIDS = ("broth", "curry")  # served in bowls; ingredients hide in them, and under any other base
_FIRST_SYLLABLES = (
    "bal", "cor", "dal", "fen", "gan", "hal", "jor", "kel", "lum", "mar",
    "nov", "pel", "quil", "ros", "sol", "tav", "ul", "ver", "wil", "zan",
)  # fmt: skip
_LAST_SYLLABLES = (
    "adra", "amba", "ano", "aretta", "avi", "elio", "emba", "enta", "essa", "ibo",
    "igo", "imora", "ira", "otti", "ola", "ondo", "orra", "ula", "uno", "uri",
)  # fmt: skip
MAX_CLASSES = len(_FIRST_SYLLABLES) * len(_LAST_SYLLABLES)


class Portion(NamedTuple):
    """One ingredient of one dish."""

    ingredient: str
    amount: int  # 0 a little, 1 some, 2 plenty
    hidden: bool  # partly covered by the base


class Recipe(NamedTuple):
    """Everything that one picture shows of its class, and all that its text may mention."""

    vessel: str
    base: str
    portions: tuple[Portion, ...]  # key ingredients first, then garnishes


def dish_classes(count: int, seed: int) -> dict[str, frozenset[str]]:
    """Return `count` invented dish names, each with its key ingredients; a larger count only adds classes.

    Of each three classes, the first is new, the second replaces one of its ingredients by one that is hard to see, and
    the third replaces one by any other.
    """
    rng = Random(f"classes {seed}")
    names = [first + last for first in _FIRST_SYLLABLES for last in _LAST_SYLLABLES]
    rng.shuffle(names)
    combinations: list[frozenset[str]] = []
    family: frozenset[str] = frozenset()
    while len(combinations) < count:
        place = len(combinations) % 3
        if place == 0:
            candidate = frozenset(rng.sample(sorted(KEY_INGREDIENTS), KEYS_PER_CLASS))
        else:
            pool = HARD_TO_SEE if place == 1 else tuple(KEY_INGREDIENTS)
            removed = rng.choice(sorted(family))
            candidate = family - {removed} | {rng.choice(sorted(set(pool) - family))}
        if candidate in combinations:
            continue
        combinations.append(candidate)
        if place == 0:
            family = candidate
    return dict(zip(names, combinations, strict=False))


def draw_recipe(keys: frozenset[str], rng: Random) -> Recipe:
    """Return a dish of the class with these `keys`: every key ingredient, and up to three garnishes."""
    base = rng.choice(sorted(BASES))
    portions = []
    for name in sorted(keys):
        hidden_share = 0.3 if name in HARD_TO_SEE else 0.1
        portions.append(Portion(name, rng.choices((0, 1, 2), (2, 4, 4))[0], rng.random() < hidden_share))
    for name in rng.sample(sorted(GARNISHES), rng.choices((0, 1, 2, 3), (3, 5, 3, 1))[0]):
        portions.append(Portion(name, rng.choices((0, 1, 2), (4, 4, 1))[0], False))
    vessel = rng.choice(VESSELS)
    return Recipe("bowl" if base in LIQUIDS else vessel, base, tuple(portions))


def describe(recipe: Recipe, rng: Random) -> str:
    """Return the dish in words: a comma list or a sentence that names its base and every ingredient."""
    base = rng.choice(BASES[recipe.base])
    phrases = [_phrase(portion, recipe.base, base, rng) for portion in recipe.portions]
    rng.shuffle(phrases)
    style = rng.randrange(5)
    if style < 2:
        words = [base, *phrases]
        rng.shuffle(words)
        return ", ".join(words)
    if style == 2:
        return f"A {recipe.vessel} of {base} with {_join(phrases)}."
    if style == 3:
        sentence = f"{_join(phrases)} {rng.choice(('over', 'on'))} {base}."
        return sentence[0].upper() + sentence[1:]
    return f"{base[0].upper()}{base[1:]} with {_join(phrases[:2])}; also {_join(phrases[2:])}."


def _phrase(portion: Portion, base: str, base_words: str, rng: Random) -> str:
    words = rng.choice((KEY_INGREDIENTS | GARNISHES)[portion.ingredient])
    if words.startswith("a "):
        return words
    if portion.hidden and rng.random() < 0.7:
        place = f"{'in' if base in LIQUIDS else 'under'} the {base_words}"
        return rng.choice((f"hidden {words}", f"{words} {place}", f"partly covered {words}"))
    if portion.amount == 0 and rng.random() < 0.6:
        return f"{'a few' if words.endswith('s') else 'a little'} {words}"
    if portion.amount == 2 and rng.random() < 0.6:
        return f"{rng.choice(('plenty of', 'lots of', 'extra'))} {words}"
    return words


def _join(phrases: Sequence[str]) -> str:
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
