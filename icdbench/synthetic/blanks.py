"""Words for the blanks of templates, such as `{drug}`, `{date}` and `{side}`, in the notes of the synthetic MIMIC-III tables.

`Blanks` draws a word for each blank. Some names and drugs are made up and rare, as most of MIMIC-III's words are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from functools import partial

from icdbench.synthetic.dice import Dice
from icdbench.synthetic.language import COMMON_DRUGS, capitalized, table

COINED = (
    0.12  # share of names, drugs and the like that are made up; in word counts they look like brands and misspellings
)
# The number of made-up words of each kind.
COINAGES = {"name": 40_000, "town": 25_000, "drug": 30_000, "brand": 25_000, "organism": 20_000, "device": 20_000}
USUAL_DOSES = (5, 10, 20, 25, 40, 50, 100, 250, 500)


def coin_word(kind: str, number: int) -> str:
    """The made-up word of that number; numbers below the kind's COINAGES give different words."""
    words = table("words")
    vowels = words["vowels"]
    linking = [*vowels[:4], *[""] * len(vowels[4:])]  # not every ending needs a vowel before it
    parts = (words["onsets"], vowels, words["middles"], linking, table("endings")[kind])
    rest, word = number * 7919 % math.prod(map(len, parts)), ""  # a prime: neighbours differ in every part
    for choices in parts:
        rest, index = divmod(rest, len(choices))
        word += choices[index]
    return word


def dashed(day: date) -> str:
    return f"{day.year}-{day.month}-{day.day}"


class Blanks(dict[str, str]):
    """The words of one document by the name of their blank: the patient's pronouns, and words that are drawn each time.

    A name with a capital (`{Drug}`) gives a word with a capital.
    """

    def __init__(self, dice: Dice, person: Mapping[str, str], day: date) -> None:
        super().__init__(person)
        self.dice, self.day = dice, day

    def __missing__(self, name: str) -> str:
        if choices := table("slots").get(name):
            return self.dice.pick(choices) if len(choices) > 1 else choices[0].format_map(self)
        if name[0].isdigit():
            low, high = map(int, name.split("-"))
            return str(self.dice.number(low, high))
        return DRAW[name](self) if name in DRAW else capitalized(self[name.lower()])

    def name(self, kind: str) -> str:
        """A name of that kind; made-up ones follow Zipf's law: the n-th has a probability proportional to 1/n."""
        if not self.dice.luck(COINED):
            return self.dice.pick(table("words")[kind])
        word = coin_word(kind, int(COINAGES[kind] ** self.dice.share()) - 1)
        return word.capitalize() if kind in {"name", "town"} else word

    def dose(self) -> str:
        usual = self.dice.luck(0.6)
        amount = self.dice.pick(USUAL_DOSES) if usual else 5 * self.dice.number(1, 199)
        return f"{amount}{self.dice.pick(table('words')['units'])}"


DRAW: Mapping[str, Callable[[Blanks], str]] = {
    "volume": lambda blanks: str(50 * blanks.dice.number(2, 90)),
    "date": lambda blanks: dashed(blanks.day - timedelta(blanks.dice.number(0, 9))),
    "later": lambda blanks: dashed(blanks.day + timedelta(blanks.dice.number(2, 60))),
    "month": lambda blanks: f"{blanks.day.year - blanks.dice.number(0, 3)}-{blanks.dice.number(1, 12)}",
    "year": lambda blanks: str(blanks.day.year - blanks.dice.number(1, 20)),
    "dose": Blanks.dose,
    "medication": lambda blanks: blanks.dice.pick(COMMON_DRUGS) if blanks.dice.luck(0.4) else blanks["drug"],
    "size": lambda blanks: (
        f"{blanks.dice.number(1, 30)}x{blanks.dice.number(1, 40)}{blanks.dice.pick(('mm', 'cm', 'Fr', ''))}"
    ),
    **{kind: partial(Blanks.name, kind=kind) for kind in COINAGES},
}
