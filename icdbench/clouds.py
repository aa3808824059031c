"""Figures 9 and 10 of the JLAN paper: word clouds of one note, and of the titles of the codes that a model gives it.

The paper says: the size of a word is its frequency in the text, the shade of its colour its attention weight. Figure 9 shows
self-attention on a note, figure 10 the descriptions of the patient's codes, "which is part of label attention
processing". What it leaves open, and what is drawn here, by any method of icdbench.explain:

- figure 9: a word's weight is the mean over its places in the note; what speaks against the code has none.
- figure 10: frequency is that in the titles of the codes above the run's tuned threshold, else of the most probable one. A
  code's weight for a word is what it gives to all places of the word in the note; a word of several titles has the mean. What
  the note does not say has none and is drawn palest.

Function words of English and Spanish are left out. Shades grow with the square root of the weight, as attention is peaked.
Equal input gives equal files.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from icdbench.explain import Explanation, explain
from icdbench.figures import FORMATS, STYLE
from icdbench.files import replacing
from icdbench.predict import Predictor
from icdbench.spec import DataError, SpecError, nearest
from icdbench.tokens import tokenize

if TYPE_CHECKING:  # slow to import
    from matplotlib.figure import Figure

SIZE = 504, 324  # points, of which an inch has 72: a page's width
MOST = 100  # words
SMALLEST, LARGEST = 6, 60  # letters, in points
PALEST, DARKEST = 0.4, 1.0  # of the colour map: the palest has to be read on white

# Words without a meaning of their own, beside those of English that wordcloud lists.
SPANISH = frozenset(
    "a al ante bajo con como contra cual cuando de del desde donde el ella en entre era eran es esta este esto fue fueron "
    "ha había hacia hasta la las le les lo los más muy ni no o para pero por que quien se según ser si sin sobre son su sus "
    "también tras tuvo un una unas unos y ya".split()
)


class Word(NamedTuple):
    """How often a word occurs, and its weight, which is never below zero."""

    times: int
    weight: float


def of_note(found: Explanation, text: str) -> dict[str, Word]:
    """Figure 9: the words of the note that was explained."""
    counts, total = _sums(found, text)
    return {word: Word(count, total[word] / count) for word, count in counts.items()}


def of_titles(predictor: Predictor, text: str, method: str = "") -> dict[str, Word]:
    """Figure 10: the words of the titles of the codes that are predicted. Raises SpecError, DataError, also without titles."""
    (codes,) = predictor.predict([text])
    counts: Counter[str] = Counter()
    total: dict[str, float] = defaultdict(float)
    named: Counter[str] = Counter()  # titles that have the word
    for code in [code for code in codes if code.above] or codes[:1]:
        words = tokenize(code.title, predictor.bundle.contents.words)
        counts.update(words)
        _, weights = _sums(explain(predictor, text, code.code, method), text)
        for word in set(words):
            total[word] += weights[word]
            named[word] += 1
    if not counts:
        raise DataError("the codes of this note have no titles in the data that the model was trained on")
    return {word: Word(count, total[word] / named[word]) for word, count in counts.items()}


def _sums(found: Explanation, text: str) -> tuple[Counter[str], dict[str, float]]:
    """How often each word of the note occurs, and the sum of its positive weights; zero for other words."""
    counts: Counter[str] = Counter()
    total: dict[str, float] = defaultdict(float)
    for (start, end), weight in zip(found.spans, found.weights.tolist(), strict=True):
        word = text[start:end].lower()
        counts[word] += 1
        total[word] += max(weight, 0.0)
    return counts, total


def checked(path: Path | None) -> None:
    """Raises SpecError for a file whose name says no format that clouds are drawn in."""
    if path is not None and path.suffix[1:].lower() not in FORMATS:
        raise SpecError(
            f"a cloud cannot be written to '{path}'{nearest(path.suffix, [f'.{form}' for form in FORMATS])}"
        )


def save(words: Mapping[str, Word], path: Path) -> None:
    """The cloud in the format of the file's name, readable by its owner alone, as it holds words of the note."""
    from matplotlib import style

    form = path.suffix[1:].lower()
    with style.context(["default", STYLE]), replacing(path, private=True) as temporary:
        draw(words).savefig(temporary, format=form, metadata=FORMATS[form])


def draw(words: Mapping[str, Word]) -> Figure:
    """The cloud: wordcloud finds the places, matplotlib draws, so that letters look alike in every format and viewer.

    Raises DataError if there are no words but function words.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from PIL import ImageFont
    from wordcloud import STOPWORDS, WordCloud

    told = {word: each for word, each in words.items() if word not in STOPWORDS | SPANISH and len(word) > 1}
    if not told:
        raise DataError("there are no words to draw but function words")
    # Of equally frequent words those of most weight come first.
    order = sorted(told, key=lambda word: (-told[word].times, -told[word].weight, word))[:MOST]
    most = max(told[word].weight for word in order) or 1.0
    font = str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
    (width, height), scale = SIZE, 4  # places are found on a grid of quarters of a point
    largest = float(LARGEST)
    while True:
        cloud = WordCloud(
            width=scale * width,
            height=scale * height,
            font_path=font,
            max_words=MOST,
            prefer_horizontal=1.0,
            relative_scaling=0.5,
            min_font_size=SMALLEST * scale,
            max_font_size=int(largest * scale),
            margin=2 * scale,
            random_state=0,
        ).generate_from_frequencies({word: told[word].times for word in order})
        # wordcloud goes on with smaller letters where a word has no room, and then sizes say no longer how often words occur.
        sizes = {(told[word].times, size) for (word, _), size, *_ in cloud.layout_}
        if len(cloud.layout_) == len(order) and len(sizes) == len({told[word].times for word in order}):
            break
        largest *= 0.85
        if largest < SMALLEST:
            largest, order = LARGEST, order[: len(order) * 3 // 4]
    figure = Figure(figsize=(width / 72, height / 72))
    for (word, _), size, (top, left), *_ in cloud.layout_:
        right, up = ImageFont.truetype(font, size).getbbox(word, anchor="ls")[:2]  # where ink begins, from the baseline
        strength = (told[word].weight / most) ** 0.5
        figure.text(
            (left - right) / (scale * width),
            1 - (top - up) / (scale * height),
            word,
            font=FontProperties(fname=font, size=size / scale),
            color=mpl.colormaps["Blues"](PALEST + (DARKEST - PALEST) * strength),
            parse_math=False,
        )
    return figure
