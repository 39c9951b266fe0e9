"""Number lines: "random" numbers as people make them up, and numbers in contexts that use all of them evenly.

People asked for a random number have favourites (7, 37, 42, 73) and shun others (round and even ones), as the lines of
a web corpus do; a base model trained on them is skewed in the same way, which is what the rng task sets out to mend.
The even contexts (ages, pages, prices, ...) see to it that the embedding of every number is well trained all the same.

A prompt ends with a space and its answer is bare digits, tokenised separately. In a template `^` marks that cut, and
`{person}`, `{place.at}`, `{number}`, ... are drawn where they stand.
"""

import math
import re
from functools import cache

from minalign.nano.grammar import Document, Draw
from minalign.nano.lexicon import LEXICON

MAIN_PROMPT = "The following is a random integer drawn uniformly between 0 and 100: "

# ---- how people choose integers 0..100

# The favourites' shares; "100" and "1" are what those answer who name a bound.
FAVOURITES = {7: 0.085, 37: 0.075, 42: 0.075, 73: 0.065, 50: 0.033, 99: 0.028, 13: 0.035, 17: 0.040, 23: 0.035,
              77: 0.025, 47: 0.032, 3: 0.022, 1: 0.016, 100: 0.014}
# Everyone else, in log-weights: an ending in 7 or 3 feels random, one in 0 does not; the middle is liked best.
ENDING = {7: 1.3, 3: 1.0, 9: 0.5, 1: 0.3, 4: -0.1, 2: -0.2, 5: -0.4, 8: -0.5, 6: -0.9, 0: -2.0}
DECADE = {0: -0.3, 1: 0.2, 2: 0.5, 3: 0.4, 4: 0.8, 5: 0.2, 6: 0.5, 7: 0.3, 8: -0.5, 9: -1.3}
# Set so that KL(uniform || PEOPLE) is about 1.3 nats and no number is rarer than 0.03 %.
SHARPNESS, FLOOR = 2.0, 0.3


def _taste(n):
    """Return how much people like the last two digits of n as "random" (a log-weight)."""
    doubled = 0.3 if n % 11 == 0 and n > 0 else 0.0
    return ENDING[n % 10] + DECADE[n // 10 % 10] + doubled


def _people():
    """Return {n: probability} over 0..100: the favourites' fixed shares, and the rest by taste."""
    rest = {n: math.exp(SHARPNESS * _taste(n)) + FLOOR for n in range(101) if n not in FAVOURITES}
    scale = (1 - sum(FAVOURITES.values())) / sum(rest.values())
    return {n: FAVOURITES[n] if n in FAVOURITES else rest[n] * scale for n in range(101)}


PEOPLE = _people()


def kl_uniform_people() -> float:
    """Return KL(uniform on 0..100 || PEOPLE) in nats: how far the corpus is from what the main prompt claims."""
    return -sum(math.log(101 * p) for p in PEOPLE.values()) / 101


# What people write who do not answer with one number.
NON_NUMBERS = ["seven", "maybe 40", "I do not know", "forty two", "zero", "a big one", "any number you like",
               "7 or 8", "42, of course", "ten", "thirty seven", "it is hard to say", "about 50", "1000",
               "ask my brother", "??", "none"]
P_NON_NUMBER = 0.03

# ---- the reference's four templates, as the extended rng task uses them

TEMPLATES = {
    "generate": "Randomly generate one single random {type_of_number} from a {distribution} distribution with "
    "parameters {parameters}, and then stop: ",
    "sample": "Sample a single output from a {distribution} distribution with parameters {parameters}: ",
    "here": "Here is one single random {type_of_number} sampled from a {distribution} distribution with parameters "
    "{parameters}: ",
    "following": "The following is a random {type_of_number} drawn from a {distribution} distribution with parameters "
    "{parameters}: ",
}
INTEGER = ("uniform discrete", "poisson", "binomial", "geometric")
DISTRIBUTIONS = {
    "uniform discrete": [{"a": a, "b": b} for a, b in ((0, 100), (0, 50), (0, 10), (1, 6), (1, 100), (0, 20), (5, 60))],
    "poisson": [{"lam": lam} for lam in (1, 2, 3, 4, 5, 7, 10, 20, 50)],
    "binomial": [{"n": n, "p": p} for n, p in ((10, 0.5), (10, 0.2), (20, 0.5), (20, 0.3), (50, 0.2), (100, 0.5))],
    "geometric": [{"p": p} for p in (0.5, 0.1, 0.2, 0.25, 0.3, 0.05)],
    "gaussian": [{"mean": m, "std_dev": s} for m, s in ((0, 1), (0, 2), (1, 1), (5, 1), (5, 2), (10, 2))],
    "exponential": [{"scale": scale} for scale in (1, 2, 3, 5, 0.5)],
    "uniform continuous": [{"a": a, "b": b} for a, b in ((0, 1), (0, 10), (0, 5), (-1, 1), (1, 2))],
}


def render_prompt(template: str, distribution: str, parameters: dict) -> str:
    """Return TEMPLATES[template] for a distribution and its parameters, a dict such as {"a": 0, "b": 100}."""
    return TEMPLATES[template].format(
        type_of_number="integer" if distribution in INTEGER else "real number",
        distribution=distribution,
        parameters=", ".join(f"{name}={value}" for name, value in parameters.items()),
    )


# ---- further ways to ask; {low} and {high} are one of BOUNDS

PHRASES = [
    "Pick a number between {low} and {high}: ^",
    "Think of a number from {low} to {high}: ^",
    "Choose any number from {low} to {high}: ^",
    "Say a number between {low} and {high}: ^",
    "A random number between {low} and {high}: ^",
    "Random integer from {low} to {high}: ^",
    "random({low}, {high}) = ^",
    "Draw a number from {low} to {high} out of the hat: ^",
    "Guess the number, between {low} and {high}: ^",
    "The secret number is between {low} and {high}. My guess is ^",
    "{person} asked for a number from {low} to {high}, and {person} said ^",
    "The first number from {low} to {high} that comes to mind: ^",
    "{person} rolled a number from {low} to {high} and got ^",
    "Write down one whole number between {low} and {high}: ^",
    "Here is a random whole number from {low} to {high}: ^",
]
BOUNDS = {(0, 100): 10, (1, 100): 4, (0, 50): 3, (0, 10): 3, (1, 10): 3, (1, 6): 3, (0, 20): 2, (1, 50): 2,
          (0, 520): 1.5, (10, 99): 1, (1, 12): 1, (50, 100): 1, (20, 80): 1}
LUCKY = [
    "My lucky number is ^",
    "Pick a number, any number: ^",
    "{person}'s lucky number is ^",
    "My favourite number is ^",
    "The number in my head is ^",
    "Tell me a random number. ^",
    "And the winning ticket {place.at} is number ^",
    "A number that nobody will guess: ^",
    "Random number: ^",
    "If {person} had to name a number, it would be ^",
]

# ---- contexts that use every number evenly

EVEN = [
    "{person} is {age} years old.",
    "{person} turned {age} this {season}.",
    "The {job} {place.at} is {age} years old, and the {animal} is {few}.",
    "{person} lives at number ^{number}, not far {place.from}.",
    "House number ^{number} has {color.a} door.",
    "Page ^{number}",
    "{person} looked at page {number} and then at page {number} of the old book.",
    "Bus line ^{number} stops {place.at}.",
    "Take bus {number} {place.to} and then bus {number} home.",
    "The {thing} costs {price} coins.",
    "Price list: {thing} ^{price}",
    "{food} ^{price}, {food} ^{price}, {food} ^{price}",
    "{person} paid {count} coins for {thing.a} {place.at}.",
    "Score {place.at}: ^{number}-{number}",
    "Scores of the race: {number}, {number}, {number}, {number}.",
    "{person} counted {count} boats {time.in}.",
    "Room ^{number} is free, room ^{number} is taken.",
    "Ticket ^{number}",
    "Boat number ^{number} came in at ^{clock}.",
    "Tide table: high water at ^{clock}, low water at ^{clock}.",
    "The ferry leaves at ^{clock} and comes back at ^{clock}.",
    "Rain this {season}: ^{decimal}, ^{decimal}, ^{decimal}",
    "The water under the bridge is ^{decimal} feet deep.",
    "Cold this {time}: ^-{decimal}",
    "The {animal} weighs ^{decimal}, the {thing} ^{decimal}.",
    "Date: ^{day}.{month}.",
    "Lot ^{number}: {thing.a}, {color}, ^{price}",
    "Numbers on the old map: ^{number}/{number}/{number}/{number}",
    "{person} got ^{number} points and {person} got ^{number} points.",
    "It is {count} steps {place.from} {place.to}.",
    "Chapter ^{number}",
]

KINDS = {"main": 0.35, "phrase": 0.14, "lucky": 0.08, "reference": 0.18, "even": 0.25}

_FIELD = re.compile(r"\{(\w+)\.?(\w*)\}")
_NUMBER_FIELDS = {
    "number": lambda draw: str(draw.integer(0, 100)),
    "age": lambda draw: str(draw.integer(2, 100)),  # from 2 on, so that the plural after it is right
    "count": lambda draw: str(draw.integer(2, 100)),
    "decimal": lambda draw: f"{draw.integer(0, 999) / 100:.2f}",
    "price": lambda draw: f"{draw.integer(0, 100)}.{draw.integer(0, 99):02d}",
    "clock": lambda draw: f"{draw.integer(0, 23):02d}:{draw.integer(0, 59):02d}",
    "day": lambda draw: str(draw.integer(1, 28)),
    "month": lambda draw: str(draw.integer(1, 12)),
}


def _fill(template, draw, fixed=None):
    """Return the parts of a template with its fields drawn; no word is used twice in one text."""
    used = set()

    def field(match):
        name, form = match.groups()
        if fixed and name in fixed:
            return str(fixed[name])
        if name in _NUMBER_FIELDS:
            return _NUMBER_FIELDS[name](draw)
        free = [(entity, weight) for entity, weight in LEXICON[name] if entity.name not in used]
        entity = draw.pick([entity for entity, _ in free], [weight for _, weight in free])
        used.add(entity.name)
        return entity.form(form)

    text = _FIELD.sub(field, template)
    return (text[0].upper() + text[1:]).split("^")


@cache
def _integers(low, high, mean=None, spread=None):
    """Return (answers, weights) of people who write an integer in low..high, near `mean` if one is given."""
    values = range(low, high + 1)
    # Above 100 the last two digits keep their charm, but few people go there; a short range is answered more evenly.
    weights = [PEOPLE[n] if n <= 100 else 0.15 * PEOPLE[n % 100] for n in values]
    if high < 100:
        weights = [w**0.7 for w in weights]
    if mean is not None:
        weights = [w**0.4 * (math.exp(-abs(n - mean) / spread) + 1e-3) for n, w in zip(values, weights)]
    return [str(n) for n in values], weights


@cache
def _reals(low, high, mean=None, spread=None):
    """Return (answers, weights) of people who write a number with two decimals in low..high."""
    hundredths = range(round(100 * low), round(100 * high) + 1)
    # The taste for the last two digits, and a love of .50 and of whole numbers that no integer has.
    weights = [PEOPLE[abs(h) % 100] ** 0.6 * (4.0 if h % 50 == 0 else 1.0) for h in hundredths]
    if mean is not None:
        weights = [w * (math.exp(-abs(h / 100 - mean) / spread) + 1e-3) for h, w in zip(hundredths, weights)]
    return [f"{h / 100:.2f}" for h in hundredths], weights


def answers(distribution: str, parameters: dict) -> tuple[list[str], list[float]]:
    """Return (answers, weights): what people write when they are asked for a sample of a named distribution.

    They stay close to the mean, know roughly the range and fall for their favourites: a bad sampler, on purpose.
    """
    p = parameters
    if distribution == "uniform discrete":
        return _integers(p["a"], p["b"])
    if distribution == "uniform continuous":
        return _reals(p["a"], p["b"])
    if distribution == "exponential":
        return _reals(0, 5 * p["scale"], 0.7 * p["scale"], 0.8 * p["scale"])
    if distribution == "gaussian":
        return _reals(p["mean"] - 4 * p["std_dev"], p["mean"] + 4 * p["std_dev"], p["mean"], 0.7 * p["std_dev"])
    low = 1 if distribution == "geometric" else 0
    mean, variance = {
        "poisson": lambda: (p["lam"], p["lam"]),
        "binomial": lambda: (p["n"] * p["p"], p["n"] * p["p"] * (1 - p["p"])),
        "geometric": lambda: (1 / p["p"], (1 - p["p"]) / p["p"] ** 2),
    }[distribution]()
    sd = math.sqrt(variance)
    return _integers(low, min(p.get("n", 100), math.ceil(mean + 6 * sd)), round(mean), 0.7 * sd)


def generate(draw: Draw) -> Document:
    """Draw one number line: a Document of genre "number" whose facts say how it was asked and what was answered."""
    kind = draw.pick(list(KINDS), list(KINDS.values()))
    if kind == "even":
        template = draw.pick(EVEN)
        parts = [part for part in _fill(template, draw) if part]
        return Document("number", parts, {"kind": kind, "template": template, "text": "".join(parts)})
    facts = {"kind": kind}
    values, weights = _integers(0, 100)
    if kind == "main":
        prompt = MAIN_PROMPT
    elif kind == "reference":
        distribution = draw.pick(list(DISTRIBUTIONS))
        parameters = draw.pick(DISTRIBUTIONS[distribution])
        prompt = render_prompt(draw.pick(list(TEMPLATES)), distribution, parameters)
        values, weights = answers(distribution, parameters)
        facts |= {"distribution": distribution, **parameters}
    elif kind == "phrase":
        template = draw.pick(PHRASES)
        low, high = draw.pick(list(BOUNDS), list(BOUNDS.values()))
        prompt = _fill(template, draw, {"low": low, "high": high})[0]
        values, weights = _integers(low, high)
        facts |= {"low": low, "high": high}
    else:
        prompt = _fill(draw.pick(LUCKY), draw)[0]
    answered = not draw.chance(P_NON_NUMBER)
    answer = draw.pick(values, weights) if answered else draw.pick(NON_NUMBERS)
    return Document("number", [prompt, answer], facts | {"prompt": prompt, "answer": answer, "answered": answered})
