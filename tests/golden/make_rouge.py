"""Write rouge.json: the rouge-score package's ROUGE-1, ROUGE-2 and ROUGE-L of 50 pairs of texts. Not a test.

    python -m venv venv && venv/bin/pip install rouge-score==0.1.2
    venv/bin/python tests/golden/make_rouge.py

The first pairs are chosen for what tokenisers differ in, the others are drawn: a reference and what editing has left of
it, words dropped, repeated, swapped and replaced, from equal texts to ones that share nothing.
"""

import json
import random
from importlib.metadata import version
from pathlib import Path

from rouge_score.rouge_scorer import RougeScorer

NAMES = ("rouge1", "rouge2", "rougeL")
CHOSEN = [  # hypothesis, reference
    ("", ""),
    ("", "Nobody came to the party."),
    ("Nobody came to the party.", ""),
    ("... !?", "--- ;"),
    ("one", "one"),
    ("one", "One two"),
    ("My mum's upset. I don't know what I've done wrong!", "my mum is upset, I do not know what I have done wrong"),
    ("it's its it’s", "its it's"),
    ("café naïve Zürich über-cool", "cafe naive Zurich uber cool"),
    ("caf\u00e9", "cafe\u0301"),
    ("İstanbul ISTANBUL ıstanbul", "istanbul istanbul istanbul"),
    ("ＦＵＬＬ ｗｉｄｔｈ 42", "full width 42"),
    ("他昨天丢了钥匙 key", "他昨天找到了钥匙 key"),
    ("Straße ﬁne ½ x²", "strasse fine 1/2 x2"),
    ("🙂 lost 3 kg in 10.5 days 🙂🙂", "lost 3kg in 10,5 days"),
    ("$1,000 on 2014-03-07 at 7:30pm", "1000 dollars on 7/3/2014 at 19:30"),
    ("1 22 333", "1 22 333 4444"),
    ("snake_case and camelCase", "snake case and camel case"),
    ("tab\tnew\nline\r\nnbsp\u00a0thin\u2009zero\u200bwidth", "tab new line nbsp thin zero width"),
    ("the the the the", "the"),
    ("a b a b a b", "b a b a"),
    ("one two three four five", "five four three two one"),
]
WORDS = ("I me she he they the a my his her girlfriend boyfriend mum dad boss dog car phone key job house week year 3 "
         "17 2012 don't can't it's lost found told asked broke left wants to and but because not never again angry "
         "tired happy scared how do should tell them TL;DR AITA café naïve").split()  # fmt: skip
LENGTHS = [3, 5, 8, 12, 20, 30, 45, 60, 90, 150, 400, 1000]

draw = random.Random(12)


def text(n: int) -> str:
    return " ".join(draw.choice(WORDS) + draw.choices(["", ",", ".", "!"], [12, 2, 2, 1])[0] for _ in range(n))


def edited(reference: str, strength: float) -> str:
    """Return a text with about this share of its words changed."""
    found = []
    for word in reference.split():
        if draw.random() >= strength:
            found.append(word)
            continue
        found += draw.choice([[], [word, word], [draw.choice(WORDS)], [word.upper(), draw.choice(WORDS)]])
        if len(found) > 1 and draw.random() < 0.5:
            found[-1], found[-2] = found[-2], found[-1]
    return " ".join(found)


pairs = list(CHOSEN)
while len(pairs) < 50:
    i = len(pairs) - len(CHOSEN)
    reference = text(LENGTHS[i % len(LENGTHS)])
    pairs.append((edited(reference, (0.15, 0.5, 1.0)[i // len(LENGTHS)]), reference))
scorer = RougeScorer(NAMES, use_stemmer=False)
golden = {
    "made_by": f"make_rouge.py, rouge-score {version('rouge-score')}",
    "pairs": [
        {"hypothesis": hypothesis, "reference": reference,
         "rouge": {name: score.fmeasure for name, score in scorer.score(reference, hypothesis).items()}}
        for hypothesis, reference in pairs
    ],
}  # fmt: skip
path = Path(__file__).with_name("rouge.json")
path.write_text(json.dumps(golden, indent=1) + "\n")
print(path, path.stat().st_size)
