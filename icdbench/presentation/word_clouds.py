"""Figures 9 and 10 of the JLAN paper: word clouds of a note, and of the titles of the codes that a model predicts for it.

In the paper, a word's size is its frequency in the text and its shade is the attention weight. Figure 9 shows self-attention
on a note, figure 10 the descriptions of the patient's codes, "which is part of label attention processing". The paper leaves
the rest open. Here, any method of icdbench.inference.explain gives the weights:

- figure 9: a word's weight is the mean over its occurrences in the note; evidence against the code counts as zero.
- figure 10: the titles are those of codes above the run's tuned threshold, else of the most probable code. A code's weight
  for a word is the sum over all occurrences in the note, or zero; a word of several titles has the mean.

English and Spanish function words are left out. Shades grow with the square root of the weight because attention is peaked.
Equal input gives equal files.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from icdbench.files import replacing
from icdbench.inference import explain, predict
from icdbench.presentation.figures import FORMATS
from icdbench.presentation.plots import STYLE
from icdbench.settings import DataError, SpecError, nearest
from icdbench.types import composed

if TYPE_CHECKING:  # slow to import
    from matplotlib.figure import Figure

SIZE = 504, 324  # points (72 per inch): a page's width
MOST = 100  # words
SMALLEST, LARGEST = 6, 60  # type sizes in points
PALEST, DARKEST = 0.4, 1.0  # of the colour map; the palest must be readable on white


class Word(NamedTuple):
    """How often a word occurs, and its non-negative weight."""

    times: int
    weight: float


def of_note(found: explain.Explanation, text: str) -> dict[str, Word]:
    """Figure 9: the words of the explained note."""
    counts, total = _word_weights(found, text)
    return {word: Word(count, total[word] / count) for word, count in counts.items()}


def of_titles(predictor: predict.Predictor, text: str, method: str = "") -> dict[str, Word]:
    """Figure 10: the words in the titles of the predicted codes. Raises SpecError, and DataError also without titles."""
    (codes,) = predictor.predict([text])
    counts: Counter[str] = Counter()
    total: dict[str, float] = defaultdict(float)
    titles: Counter[str] = Counter()  # in which a word occurs
    for code in [code for code in codes if code.above] or codes[:1]:
        words = [_normalized_word(code.title, span) for span in predictor.reader.spans(code.title)]
        counts.update(words)
        _, weights = _word_weights(explain.explain(predictor, text, code.code, method), text)
        for word in set(words):
            total[word] += weights[word]
            titles[word] += 1
    if not counts:
        raise DataError("the codes of this note have no titles in the data that the model was trained on")
    return {word: Word(count, total[word] / titles[word]) for word, count in counts.items()}


def _word_weights(found: explain.Explanation, text: str) -> tuple[Counter[str], dict[str, float]]:
    """How often each word of the note occurs, and the sum of its positive weights; punctuation does not count."""
    counts: Counter[str] = Counter()
    total: dict[str, float] = defaultdict(float)
    for span, weight in zip(found.spans, found.weights.tolist(), strict=True):
        word = _normalized_word(text, span)
        if not any(map(str.isalnum, word)):
            continue
        counts[word] += 1
        total[word] += max(weight, 0.0)
    return counts, total


def _normalized_word(text: str, span: tuple[int, int]) -> str:
    return composed(text[slice(*span)]).lower()


def checked(path: Path | None) -> None:
    """Raises SpecError unless the file's name ends in a known image format."""
    if path is not None and path.suffix[1:].lower() not in FORMATS:
        suffixes = [f".{form}" for form in FORMATS]
        raise SpecError(f"a cloud cannot be written to '{path}'{nearest(path.suffix, suffixes)}")


def save(words: Mapping[str, Word], path: Path) -> None:
    """Write the cloud in the format of the file's name, readable only by its owner because it shows words of the note."""
    from matplotlib import style

    form = path.suffix[1:].lower()
    with style.context(["default", STYLE]), replacing(path, private=True) as temporary:
        draw(words).savefig(temporary, format=form, metadata=FORMATS[form])


def draw(words: Mapping[str, Word]) -> Figure:
    """Draw the cloud: wordcloud places the words, and matplotlib draws them in its own font.

    Raises DataError if there are only function words, and words that are too long.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from PIL import ImageFont
    from wordcloud import WordCloud

    content = {word: each for word, each in words.items() if word not in explain.function_words() and len(word) > 1}
    if not content:
        raise DataError("there are no words to draw but function words")
    # Of equally frequent words, those of most weight come first.
    order = sorted(content, key=lambda word: (-content[word].times, -content[word].weight, word))[:MOST]
    most = max(content[word].weight for word in order) or 1.0
    font = str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
    (width, height), scale = SIZE, 4  # words are placed on a grid of quarter points
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
        ).generate_from_frequencies({word: content[word].times for word in order})
        # wordcloud shrinks words that do not fit, so that sizes no longer show how often words occur: try a smaller size.
        sizes = {(content[word].times, size) for (word, _), size, *_ in cloud.layout_}
        if len(cloud.layout_) == len(order) and len(sizes) == len({content[word].times for word in order}):
            break
        largest *= 0.85
        if largest < SMALLEST:  # a first word that does not fit at any size is too long
            largest, order = LARGEST, order[: len(order) * 3 // 4] if cloud.layout_ else order[1:]
        if not order:
            raise DataError("there are no words to draw but those that are too long for a cloud")
    figure = Figure(figsize=(width / 72, height / 72))
    for (word, _), size, (top, left), *_ in cloud.layout_:
        right, up = ImageFont.truetype(font, size).getbbox(word, anchor="ls")[:2]  # the ink's corner, from the baseline
        strength = (content[word].weight / most) ** 0.5
        figure.text(
            (left - right) / (scale * width),
            1 - (top - up) / (scale * height),
            word,
            font=FontProperties(fname=font, size=size / scale),
            color=mpl.colormaps["Blues"](PALEST + (DARKEST - PALEST) * strength),
            parse_math=False,
        )
    return figure
