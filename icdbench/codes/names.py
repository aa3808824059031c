"""English names of codes, prepared for matching in notes: `readings` gives variants of a name, `normal_form` of a word.

Code lists are written for an index ("Anemia, unspecified", "Pneumonia (acute) (double)") and notes are not. So a matcher
ignores the order of a name's words, the words in IGNORED, plural endings and British spelling. Text in brackets and
phrases such as "without mention of" may be left out, and a malignant neoplasm is also a cancer, a carcinoma or a tumor.
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
_CLINICAL_TERMS = [  # how code lists name a disease, and how notes do
    (re.compile(listed, re.IGNORECASE), terms)
    for listed, terms in (
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
_PLURALS = (  # endings, longer endings that are exempt, the singular's ending, and how many letters it replaces
    (("ies",), (), "y", 3),
    (("oses", "yses"), (), "is", 2),
    (("ses", "xes", "ches", "shes"), ("ases", "ises"), "", 2),
    (("s",), ("ss", "us", "is"), "", 1),
)


def readings(name: str) -> tuple[str, ...]:
    """The name and its variants, as the module's docstring describes them; the name comes first."""
    texts = [name, _BRACKETS.sub(" ", name)]
    texts += [
        listed.sub(term, text)
        for text in texts
        for listed, terms in _CLINICAL_TERMS
        if listed.search(text)
        for term in terms
    ]
    variants = (variant for text in texts for variant in (text, _ABSENT.sub("", text)))
    return tuple(dict.fromkeys(" ".join(variant.split()) for variant in variants))


def normal_form(word: str) -> str:
    """The word in the singular and in American spelling; empty for a word in IGNORED.

    The rules are approximate: forms only have to agree between names and notes.
    """
    if word in IGNORED:
        return ""
    for british, american in _SPELLINGS.items():
        word = word.replace(british, american)
    for endings, exempt, singular, cut in _PLURALS:
        if len(word) > 3 + (endings != ("s",)) and word.endswith(endings) and not word.endswith(exempt):
            return word[:-cut] + singular
    return word
