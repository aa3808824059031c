"""The page to try models: what it shows, what it refuses, and that nothing of a note is left anywhere."""

from __future__ import annotations

import dataclasses
import re
import shutil
import signal
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import browsers
import numpy as np
import pytest
import torch
from browsers import Watched, send
from conftest import Call
from places import ROOT
from planted import note
from playwright.sync_api import Page, expect
from safetensors.numpy import save_file
from starlette.datastructures import Headers
from systems import BLIND, LINEAR, NAMES, NEURAL, READ, TEXT, predictor

from icdbench import registry
from icdbench.inference import bundle
from icdbench.inference.predict import Predictor
from icdbench.records import store
from icdbench.serving import answer as answers
from icdbench.serving import app, explanation, web
from icdbench.serving.app import Site
from icdbench.serving.form import NoteForm
from icdbench.settings import DataError, SpecError
from icdbench.synthetic import documents as synthetic

CANARY = "xylophone"
HOSTILE = "w5 <script>alert(1)</script><img src=x onerror=alert(1)></textarea></div>{{7*7}}\"'&amp;\u202e\x00 w9"
SYSTEMS = ("caml", "jlan", "lr")


def changed(model: Predictor, **contents: Any) -> Predictor:
    """The model with other facts in its bundle."""
    other = model.bundle.contents.model_copy(update=contents)
    return Predictor(dataclasses.replace(model.bundle, contents=other))


@pytest.fixture(scope="module")
def models() -> list[Predictor]:
    """Untrained ones, with a threshold that puts half of TEXT's codes above it."""
    found = [predictor(system) for system in SYSTEMS]
    middle = [float(np.median([code.probability for code in model.predict([TEXT])[0]])) for model in found]
    return [changed(model, threshold={"fixed": 0.5, "tuned": at}) for model, at in zip(found, middle, strict=True)]


@pytest.fixture(scope="module")
def url(models: list[Predictor]) -> Iterator[str]:
    with web.serving(app.page(models), web.LOOPBACK, 0) as (address, _):
        yield address


def message(page: str) -> str:
    """What a page says is wrong."""
    (found,) = re.findall(r'<p id="message" role="alert">(.*?)</p>', page)
    return unescape(found)


# --- What is answered ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_codes_are_those_of_predict(models: list[Predictor]) -> None:
    site = Site(models, alone=True)
    answer = site.answer(NoteForm(TEXT, shown=(0,)))
    rows = [row for _, group in answer.groups for row in group]
    assert [row.cells[0] for row in rows] == list(models[0].predict([TEXT], 10)[0])
    at = answers.percent(models[0].bundle.contents.threshold["tuned"])
    assert [heading for heading, _ in answer.groups] == [f"{side} the threshold of {at}" for side in ("Above", "Below")]
    assert answer.code == rows[0].code
    assert answer.facts == ("12 words, 1 unknown to caml",)


@pytest.mark.slow
@pytest.mark.counted
def test_two_models_are_compared_code_by_code(models: list[Predictor]) -> None:
    answer = Site(models, alone=True).answer(NoteForm(TEXT, shown=(1, 0)))
    found = {row.code: row.cells for _, group in answer.groups for row in group}
    for place, model in enumerate((models[1], models[0])):
        assert {code: cells[place] for code, cells in found.items()} == {
            code.code: code for code in model.predict([TEXT])[0]
        }
    for heading, group in answer.groups:
        above = {tuple(bool(cell and cell.above) for cell in row.cells) for row in group}
        (each,) = above
        assert ("both" in heading) == (each[0] == each[1])
        assert heading.startswith("Above" if any(each) else "Below")
    assert [each.label for each in answer.evidence] == ["jlan", "caml"]
    assert "alpha 0." in answer.evidence[0].shares


@pytest.mark.slow
@pytest.mark.parametrize("system", READ)
def test_every_model_shows_the_whole_note(system: str) -> None:
    site = Site([predictor(system)], alone=True)
    for method in ("", site.models[0].methods[-1]):
        (evidence,) = site.answer(NoteForm(TEXT, "4.0", method=method)).evidence
        assert "".join(piece.text for piece in evidence.pieces) == TEXT
        assert evidence.method == (method or site.models[0].methods[0])
        if system not in BLIND or method == "random":
            assert 0 < len(evidence.strongest) <= answers.STRONGEST
            assert max(abs(piece.shade) for piece in evidence.pieces) == answers.LEVELS
        assert {word.lower() for word in evidence.strongest} <= set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("system", registry.entries())
def test_long_notes_are_answered_like_short_ones(system: str) -> None:
    model = predictor(system, max_tokens=1600)
    by_words = "coefficients" if system in LINEAR else "gradient"
    with web.serving(app.page([model]), web.LOOPBACK, 0) as (url, _):
        for length, method in ((65, ""), (65, by_words), (130, ""), (131, ""), (300, by_words), (1500, "")):
            text = note(length)
            status, page = send(url, {"note": text, "method": method})
            assert (status, message(page)) == (200, "")
            assert '<p class="problem">' not in page
            (shown,) = re.findall(r'<div class="text"[^>]*>(.*?)</div>', page, re.DOTALL)
            assert unescape(re.sub("<[^>]*>", "", shown)) == text


@pytest.mark.slow
@pytest.mark.parametrize("method", ["", "gradient"])
@pytest.mark.parametrize("system", registry.entries())
def test_numbers_are_those_of_predict_to_the_bit(system: str, method: str) -> None:
    model = predictor(system, max_tokens=400)
    for length in (1, 65, 300):
        answer = Site([model], alone=True).answer(NoteForm(note(length), method=method))
        rows = [row.cells[0] for _, group in answer.groups for row in group]
        assert rows == list(model.predict([note(length)], len(rows))[0])


@pytest.mark.slow
@pytest.mark.parametrize("system", NEURAL)
def test_a_posted_note_is_one_forward_pass_of_each_model(system: str) -> None:
    models = [changed(predictor(system), run="small/first"), changed(predictor("caml"), run="small/second")]
    site, counts = Site(models, alone=True), [0, 0]

    def count(place: int) -> None:
        counts[place] += 1

    for place, model in enumerate(models):
        assert isinstance(model.model, torch.nn.Module)
        model.model.register_forward_hook(lambda *_, place=place: count(place))
    for method in ("", "attention", "label-attention", "gradient", "random"):
        for shown in ((0,), (0, 1)):
            counts[:] = 0, 0
            site.answer(NoteForm(TEXT, method=method, shown=shown))
            passes = 2 if method == "gradient" or (method == "" and system.startswith("bigru")) else 1
            assert counts == [passes, 2 * (1 in shown) if method == "gradient" else int(1 in shown)], method


def test_codes_that_one_model_lacks(models: list[Predictor]) -> None:
    other = changed(models[0], codes=tuple(f"X{code}" for code in models[0].codes), run="small/other")
    site = Site([models[0], other], alone=True)
    assert [model.label for model in site.models] == ["small/run", "small/other"]
    answer = site.answer(NoteForm(TEXT, "x3.0", shown=(0, 1)))
    assert answer.code == "X3.0"  # as it is written there
    assert [bool(each.problem) for each in answer.evidence] == [True, False]
    assert all(sum(cell is None for cell in row.cells) == 1 for _, group in answer.groups for row in group)
    assert site.answer(NoteForm(TEXT, chosen="X3.0", shown=(0,))).code != "X3.0"  # chosen beside another model
    with pytest.raises(SpecError, match="run 'small/run' is named twice"):
        Site([models[0], models[0]], alone=True)


def test_what_a_model_does_not_read_is_shown_apart(models: list[Predictor]) -> None:
    text = "w5 w9 " * 40 + "w14 <i>end</i>"
    site = Site([changed(models[0], max_tokens=60)], alone=True)
    answer = site.answer(NoteForm(text))
    (evidence,) = answer.evidence
    assert answer.facts == ("84 words, the first 60 of them read, all known to caml",)
    assert "".join(piece.text for piece in evidence.pieces) + evidence.unread == text
    assert evidence.unread.split()[:2] == ["w5", "w9"]
    assert len(evidence.unread.split()) == 22


def test_codes_of_a_note_without_a_known_word_are_said_not_to_be_of_it(models: list[Predictor]) -> None:
    answer = Site(models, alone=True).answer(NoteForm("zyzzy qwrt. plugh", shown=(0, 2)))
    assert answer.facts == tuple(
        f"3 words, none known to {name}: its codes are not of this note" for name in ("caml", "lr")
    )


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        (NoteForm(" \n"), "the note is empty"),
        (NoteForm("71 500"), "no words"),
        (NoteForm(TEXT, threshold="tune"), "no threshold 'tune'; did you mean 'tuned'?"),
    ],
)
def test_notes_and_forms_that_cannot_be_answered(models: list[Predictor], form: NoteForm, problem: str) -> None:
    with pytest.raises((SpecError, DataError), match=re.escape(problem)):
        Site(models, alone=True).answer(form)


# --- What is sent and refused --------------------------------------------------------------------------------------------

NOTE = {"note": f"{CANARY} w5"}
BAD: list[tuple[int, str, bytes | dict[str, str], dict[str, str]]] = [
    (400, "The note is empty; paste one, or try an example", {}, {}),
    (400, "The note is empty; paste one, or try an example", {"note": "\r\n\t "}, {}),
    (400, "The note has no words that could be explained", {"note": "71 500"}, {}),
    (400, "The note is not UTF-8; convert it", f"note={CANARY}+caf%E9".encode(), {}),
    (400, "The note is not UTF-8; convert it", b"note=" + bytes(range(128, 256)) * 100, {}),
    (413, "The note is larger than 2 MB; paste part of it, or use 'icdbench predict'", {"note": CANARY * 10**6}, {}),
    (413, "The note is larger than 2 MB; paste part of it, or use 'icdbench predict'", {"note": "é" * 1_000_001}, {}),
    (400, "This page accepts only its own form", b"&".join(b"a=b" for _ in range(30)), {}),
    (415, "This page accepts only its own form", b'{"note": "w5"}', {"Content_Type": "application/json"}),
    (415, "This page accepts only its own form", b"w5", {"Content_Type": "multipart/form-data; boundary=x"}),
]  # fmt: skip


@pytest.mark.parametrize(("status", "problem", "body", "headers"), BAD)
def test_a_note_that_cannot_be_read_is_one_clear_line(
    url: str, status: int, problem: str, body: bytes | dict[str, str], headers: dict[str, str]
) -> None:
    found, page = send(url, body, **headers)
    assert (found, message(page)) == (status, problem)
    assert CANARY not in page
    assert "answer" not in page


def test_unknown_codes_methods_and_pages(url: str) -> None:
    status, page = send(url, {**NOTE, "typed": "3.1", "method": "gradient"})
    assert status == 200
    assert "&#39;3.1&#39; is no code of &#39;small/run&#39;; did you mean &#39;3.0&#39;?</p>" in page
    status, page = send(url, {**NOTE, "code": "3.0", "method": "pooling"})
    assert "model &#39;caml&#39; cannot be explained by &#39;pooling&#39;" in page
    for path, said in (
        ("absent", "no such page"),
        ("report.html", "no such page"),
        ("?example=ten", "No such example"),
    ):
        with pytest.raises(HTTPError, match="404") as caught:
            urllib.request.urlopen(url + path)  # noqa: S310
        assert said in caught.value.read().decode()


@pytest.mark.slow
def test_random_bytes_are_answered(url: str) -> None:
    generator = np.random.default_rng(0)
    for _ in range(5):
        text = generator.bytes(3000).decode("utf-8", "replace")
        status, page = send(url, {"note": f"w5 {text}", "code": "3.0"})
        assert status == 200
        assert message(page) == ""


def test_only_its_own_page_may_ask(url: str) -> None:
    own = url.removesuffix("/")
    for headers, status in (
        ({"Host": "evil.example"}, 403),
        ({"Host": f"127.0.0.1.evil.example:{own.rpartition(':')[2]}"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Origin": own, "Sec_Fetch_Site": "same-origin"}, 200),
        ({"Origin": own.replace("127.0.0.1", "localhost"), "Host": own[7:].replace("127.0.0.1", "localhost")}, 200),
        ({}, 200),
    ):
        found, page = send(url, NOTE, **headers)
        assert found == status, headers
        assert (CANARY in page) == (status == 200)


def test_browsers_keep_nothing_and_load_nothing_from_elsewhere(url: str) -> None:
    for path in ("", "?example=1", "app.css", "app.js", "htmx.min.js", "report.css"):
        with urllib.request.urlopen(url + path) as answer:  # noqa: S310
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'")
            assert "unsafe" not in policy
            assert not re.search(rb"""(src|href|action)=["']?https?:|@import|url\(""", answer.read())


@pytest.mark.slow
def test_fifty_at_once_each_get_their_own_answer(url: str) -> None:
    def ask(number: int) -> tuple[int, set[str]]:
        status, page = send(url, {"note": f"w{number % 50 + 2} own{number}a w9", "model": "0", "beside": "2"})
        return status, set(re.findall(r"own\d+a", page))

    with ThreadPoolExecutor(50) as threads:
        assert list(threads.map(ask, range(50))) == [(200, {f"own{number}a"}) for number in range(50)]


def test_a_fault_is_reported_without_what_was_sent(
    models: list[Predictor], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Site, form: NoteForm) -> None:
        raise RuntimeError(form.note)

    monkeypatch.setattr(Site, "answer", fail)
    with web.serving(app.page(models), web.LOOPBACK, 0) as (url, _):
        status, page = send(url, NOTE)
    assert status == 500
    assert re.fullmatch(r"This note could not be processed \(RuntimeError at test_app\.py:\d+\)", message(page))
    assert re.fullmatch(r"a request failed: RuntimeError at test_app\.py:\d+", caplog.messages[0])
    assert CANARY not in caplog.text


# --- The command ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nothing_of_a_note_is_left(models: list[Predictor], tmp_path: Path) -> None:
    """Neither in what the command prints nor in a file, whatever is sent; and Ctrl-C ends it."""
    bundle.write(models[0].bundle, tmp_path / "model.icdbench")
    with browsers.serving(tmp_path / "model.icdbench") as (server, url):
        assert url.startswith("http://127.0.0.1:")
        assert CANARY in send(url, NOTE)[1]
        for asked in ({"typed": CANARY}, {"method": CANARY}, {"threshold": CANARY}):
            send(url, {**NOTE, **asked})
        for _, _, body, headers in BAD:
            send(url, body, **headers)
        send(url, NOTE, Host=f"{CANARY}.example")
        send(f"{url}{CANARY}?example={CANARY}", NOTE)
        server.send_signal(signal.SIGINT)
        assert server.communicate() == ("", "icdbench: stopped\n")
    assert server.returncode == 130
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept == [tmp_path / "model.icdbench"]
    assert CANARY.encode() not in kept[0].read_bytes()


def test_what_cannot_be_served_is_one_line(icdbench: Call, models: list[Predictor], url: str, tmp_path: Path) -> None:
    bundle.write(models[0].bundle, tmp_path / "model.icdbench")
    save_file({}, tmp_path / "newer.icdbench", {"format": "9", "icdbench": "", "sha256": ""})
    port = url.rstrip("/").rpartition(":")[2]
    committed = Path("codiesp-d50/cnn/1-97bf3a52")
    (tmp_path / "weightless" / committed).mkdir(parents=True)
    shutil.copy(ROOT / "results" / committed / store.RECORD, tmp_path / "weightless" / committed)
    good = ("--bundle", "model.icdbench")
    for words, said in (
        (("--run", committed, "--results", "weightless"), "has no weights"),
        (("--run", "demo/caml/1-none"), "no runs in 'results'"),
        (("--bundle", "newer.icdbench"), f"is a bundle of format 9, and this icdbench reads format {bundle.FORMAT}"),
        ((*good, *good), "run 'small/run' is named twice"),
        ((*good, "--port", port), f"--port {port} cannot be used on 127.0.0.1"),
        ((*good, "--port", "70000"), "--port 70000"),
        ((*good, "--host", "no.such.host.invalid"), "no.such.host.invalid"),
    ):
        status, out, err = icdbench("serve", "--no-browser", *words)
        assert (status, out) == (2, "")
        assert said in err
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("host", "name", "status"),
    [
        ("127.0.0.1", "[::1]", 200),
        ("127.0.0.1", "LOCALHOST:80", 200),
        ("127.0.0.1", "", 400),
        ("127.0.0.1", "coder.example", 403),
        ("0.0.0.0", "10.0.0.7:8351", 200),  # noqa: S104
        ("0.0.0.0", "coder.example", 403),  # noqa: S104
        ("coder.example", "coder.example:8351", 200),
    ],
)
def test_by_which_names_a_page_answers(host: str, name: str, status: int) -> None:
    refused, _ = web.Guarded(app.page([]), host)._refusal("GET", Headers({"host": name}))
    assert (refused or 200) == status


# --- In a browser --------------------------------------------------------------------------------------------------------

browser = pytest.fixture(browsers.started, scope="module")
watched = pytest.fixture(browsers.watching)


def predict(page: Page, note: str) -> None:
    page.get_by_role("textbox", name="Note").fill(note)
    page.get_by_role("button", name="Predict").click()
    expect(page.locator(".row").first).to_be_visible()


def shaded(page: Page, panel: int = 0) -> list[str]:
    return page.locator("article").nth(panel).locator(".text mark").all_inner_texts()


@pytest.mark.slow
def test_paste_predict_choose_switch_compare(watched: Watched, url: str, models: list[Predictor]) -> None:
    page = watched.open(url, offline=False)
    page.get_by_label("Compare with").select_option("none")
    predict(page, TEXT)
    ranked = [code.code for code in models[0].predict([TEXT])[0]]
    assert page.locator(".row .code").all_inner_texts() == ranked
    expect(page.locator(".row .title").first).to_have_text("<b>title</b>")
    expect(page.locator(".row[aria-current]")).to_contain_text(ranked[0])
    expect(page.locator(".text")).to_have_text(TEXT)
    assert set(map(str.lower, shaded(page))) <= set(NAMES)

    copies = {name: page.get_by_role("button", name=name, exact=True) for name in ("text", "CSV", "FHIR")}
    for name, button in copies.items():
        expect(button).to_be_visible()
        copied = str(button.get_attribute("data-copy"))
        for code in models[0].predict([TEXT])[0]:
            assert (code.code in copied) == (code.above or name != "FHIR")

    page.locator(".row").nth(2).focus()  # by keyboard
    page.keyboard.press("Enter")
    expect(page.locator(".row[aria-current]")).to_contain_text(ranked[2])
    expect(page.locator(".row").nth(2)).to_be_focused()
    expect(page.get_by_role("heading", name=ranked[2])).to_be_visible()

    page.get_by_label("Evidence method").select_option("gradient")
    expect(page.locator(".by")).to_contain_text("gradient: words for and against the code")
    expect(page.locator(".row[aria-current]")).to_contain_text(ranked[2])
    assert page.locator(".text mark[class^=against]").count() > 0
    strongest = page.locator(".strongest a").first
    strongest.click()
    expect(page.locator(".text mark:target")).to_have_text(strongest.inner_text())

    page.get_by_label("Compare with").select_option("lr (small)")
    expect(page.locator("article")).to_have_count(2)
    expect(page.locator("article").nth(1)).to_contain_text("cannot be explained by 'gradient'")
    page.get_by_label("Evidence method").select_option("occlusion")
    expect(page.locator("article .text")).to_have_text([TEXT, TEXT])
    expect(page.locator(".row").first.locator(".percent")).to_have_count(2)

    with page.expect_response(url):  # whose page would take away what is typed before
        page.get_by_label("Threshold").select_option("50 %")
    expect(page.locator(".htmx-request")).to_have_count(0)
    expect(page.locator(".row[aria-current]")).to_contain_text(ranked[2])
    page.get_by_label("Another code").fill("9.9")
    page.keyboard.press("Enter")
    expect(page.locator("article .problem").first).to_contain_text("'9.9' is no code of 'small/run'")
    assert page.url.partition("#")[0] == url


@pytest.mark.slow
def test_nothing_on_the_page_is_hard_to_reach(
    watched: Watched, url: str, models: list[Predictor], tmp_path: Path
) -> None:
    page = watched.open(url, offline=False)
    assert browsers.violations(page) == []
    predict(page, TEXT)
    assert browsers.violations(page) == []
    found = explanation.explanations(models[0], TEXT, method="gradient")
    explanation.save(tmp_path / "explained.html", explanation.as_html(found, TEXT, "note"))
    page = watched.open((tmp_path / "explained.html").as_uri())
    page.locator("summary").last.click()
    assert browsers.violations(page) == []


def test_there_are_more_examples_than_numbers_are_long(url: str) -> None:
    with urllib.request.urlopen(f"{url}?example={'9' * 5000}") as answer:  # noqa: S310
        assert message(answer.read().decode()) == ""


@pytest.mark.slow
def test_hostile_text_is_text(watched: Watched, url: str) -> None:
    page = watched.open(url, offline=False)
    predict(page, HOSTILE.replace("\x00", ""))
    for panel in (0, 1):
        shown = page.locator(".text").nth(panel).inner_text()
        assert shown == HOSTILE.replace("\x00", "").replace("\u202e", "�")
    assert page.locator("main img, main script, main b").count() == 0
    page.get_by_text("Edit the note").click()
    expect(page.get_by_role("textbox", name="Note")).to_have_value(HOSTILE.replace("\x00", ""))
    page.locator(".row").last.click()
    expect(page.locator(".row").last).to_have_attribute("aria-current", "true")
    expect(page.locator("textarea")).to_have_value(HOSTILE.replace("\x00", ""))


@pytest.mark.slow
def test_what_is_refused_leaves_the_note_in_the_browser(watched: Watched, url: str) -> None:
    page = watched.open(url, offline=False)
    alert = page.locator("#message")
    page.evaluate("document.getElementById('note').value = 'w5 '.repeat(3_500_000)")
    page.get_by_role("button", name="Predict").click()
    expect(alert).to_contain_text("larger than 2 MB")
    assert page.evaluate("document.getElementById('note').value.length") == 10_500_000
    page.get_by_role("textbox", name="Note").fill("")
    page.get_by_role("button", name="Predict").click()
    expect(alert).to_contain_text("The note is empty")
    page.get_by_role("textbox", name="Note").fill("w5\x00\x01\ufffe w9")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".text").first).to_contain_text("w9")
    expect(alert).to_be_empty()
    assert [line for line in watched.wrong if "status of 4" not in line] == []
    watched.wrong.clear()


@pytest.mark.slow
def test_a_made_up_note_on_a_phone(watched: Watched, url: str) -> None:
    page = watched.open(url, 360, offline=False)
    page.emulate_media(reduced_motion="reduce")  # a smooth scroll takes its time
    page.get_by_role("link", name="Try a made-up note").click()
    note = synthetic.document_with_evidence(app._test_document(0))[0]
    assert note.split == "test"
    expect(page.locator(".text").first).to_contain_text(note.text.split("\n")[0])
    page.wait_for_load_state()  # before its scripts have run, a form is sent without them, and nothing scrolls
    fits = "document.scrollingElement.scrollWidth <= innerWidth"
    assert page.evaluate(fits)
    shown = page.evaluate_handle("({swap: new Promise(done => document.addEventListener('htmx:after:swap', done))})")
    page.locator(".row").nth(3).click()
    shown.evaluate(
        "({swap}) => swap.then(() => true)"
    )  # the page scrolls by this event, which comes later than what it shows
    expect(page.locator(".row").nth(3)).to_have_attribute("aria-current", "true")
    expect(page.locator("#evidence h2")).to_be_in_viewport()
    assert page.evaluate(fits)
    method = page.get_by_label("Evidence method")
    method.evaluate("select => select.scrollIntoView({block: 'center'})")
    method.select_option("random")
    expect(page.locator(".by").first).to_contain_text("random")
    expect(method).to_be_in_viewport()  # what one reads stays in sight


@pytest.mark.slow
def test_it_works_without_scripts(watched: Watched, url: str) -> None:
    page = watched.open(url, offline=False, scripts=False)
    predict(page, TEXT)
    page.locator(".row").nth(1).click()
    expect(page.locator(".row").nth(1)).to_have_attribute("aria-current", "true")
    expect(page.locator(".text").first).to_have_text(TEXT)
    page.get_by_label("Evidence method").select_option("random")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".by").first).to_contain_text("random")
    expect(page.locator(".row").nth(1)).to_have_attribute("aria-current", "true")


@pytest.mark.slow
def test_a_server_that_has_gone_is_said(watched: Watched, models: list[Predictor]) -> None:
    with web.serving(app.page(models[:1]), web.LOOPBACK, 0) as (url, _):
        page = watched.open(url, offline=False)
    page.get_by_role("textbox", name="Note").fill(TEXT)
    page.get_by_role("button", name="Predict").click()
    expect(page.get_by_role("alert")).to_have_text("The server does not answer; is 'icdbench serve' still running?")
    expect(page.get_by_role("textbox", name="Note")).to_have_value(TEXT)
    watched.wrong.clear()
