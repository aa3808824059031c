"""English names of codes as a matcher reads them: in the words that notes use, in normal forms of these words.

Coders' lists are written for an index ("Anemia, unspecified", "Pneumonia (acute) (double)"), notes are not: so the order of a
name's words does not count, nor do the words of IGNORED, the plural, or British spelling; what stands in brackets and what is
said to be absent may be left out; and a malignant neoplasm is a cancer, a carcinoma or a tumor.
"""

from __future__ import annotations

import re

IGNORED = frozenset(
    "a an and as at by due elsewhere classified encounter for from in initial is nec nos not of on or other otherwise s site "
    "specified the to type unspecified with".split()
)
NEGATIONS = frozenset("absence absent denied denies free negative no ruled without".split())

_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_ABSENT = re.compile(r",? without .*| not intractable| uncomplicated", re.IGNORECASE)
_CALLED = [  # what lists say, and what notes say
    (re.compile(listed, re.IGNORECASE), said)
    for listed, said in (
        ("secondary malignant neoplasm", ("metastasis", "metastases")),
        ("malignant neoplasm", ("cancer", "carcinoma", "tumor")),
        ("neoplasm of unspecified behavior", ("tumor", "mass")),
        ("benign neoplasm", ("benign tumor",)),
    )
]
_SPELLINGS = {
    "oedema": "edema",
    "oesoph": "esoph",
    "haem": "hem",
    "aemi": "emi",
    "anaes": "anes",
    "oea": "ea",
    "paed": "ped",
    "tumour": "tumor",
}
_ENDINGS = (  # of plurals: what ends a word, what does not, and what takes its place
    (("ies",), (), "y", 3),
    (("oses", "yses"), (), "is", 2),
    (("ses", "xes", "ches", "shes"), ("ases", "ises"), "", 2),
    (("s",), ("ss", "us", "is"), "", 1),
)


def readings(name: str) -> tuple[str, ...]:
    """The name, and what else it may be called: see above."""
    plain = (name, _BRACKETS.sub(" ", name))
    called = [
        listed.sub(said, text) for text in plain for listed, others in _CALLED if listed.search(text) for said in others
    ]
    texts = (text for each in (*plain, *called) for text in (each, _ABSENT.sub("", each)))
    return tuple(dict.fromkeys(" ".join(text.split()) for text in texts))


def normal_form(word: str) -> str:
    """The word in the singular, in American spelling; empty for a word that names ignore.

    A rule of thumb: forms only have to agree between names and notes.
    """
    if word in IGNORED:
        return ""
    for british, american in _SPELLINGS.items():
        word = word.replace(british, american)
    for endings, but, instead, cut in _ENDINGS:
        if len(word) > 3 + (endings != ("s",)) and word.endswith(endings) and not (but and word.endswith(but)):
            return word[:-cut] + instead
    return word
