"""One palette, one badge, one player; foreign text is shown and does nothing."""

import base64
import io
import itertools
import re
import unicodedata
import wave
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit import show

quick = settings(max_examples=200, derandomize=True, deadline=None)


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


# Foreign text


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "</pre><img src=x onerror=alert(1)>",
        '" onmouseover="alert(1)',
        "' onmouseover='alert(1)",
        "&lt;b&gt; &amp; <!-- -->",
        "<svg/onload=alert(1)>",
    ],
)
def test_markup_is_shown_as_text(text):
    page = Page(f'<p title="{show.esc(text)}">{show.esc(text)}</p>')

    assert [tag for tag, _ in page.tags] == ["p"]
    assert page.tags[0][1] == {"title": text}
    assert page.text == text


@quick
@given(st.text(st.characters(), max_size=40))
def test_no_text_leaves_its_place(text):
    page = Page(f'<p title="{show.esc(text)}">{show.esc(text)}</p>')

    assert [(tag, list(attributes)) for tag, attributes in page.tags] == [("p", ["title"])]
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t" for c in page.text)


@pytest.mark.parametrize(
    "hidden", ["\u202e", "\u2066", "\u200f", "\u061c", "\x1b", "\x00", "\r", "\u200b", "\ufeff", "\ud800"]
)
def test_what_cannot_be_seen_is_shown_as_its_code_point(hidden):
    shown = show.esc(f"a{hidden}b")

    assert shown == f"a‹U+{ord(hidden):04X}›b"
    shown.encode()


def test_lines_and_tabs_stay():
    assert show.esc("a\n\tb") == "a\n\tb"


def test_words_of_any_language_stay():
    text = "Zażółć gęślą jaźń, שלום, こんにちは, 🐢"

    assert show.esc(text) == text


def test_a_megabyte_is_cut_and_the_cut_is_named():
    shown = show.esc("<" * 1_000_000)

    assert len(shown) < 10_000
    assert shown.endswith(" … (998,000 more characters)")


def test_anything_can_be_shown():
    assert show.esc(None) == "None"
    assert show.esc({"a": "<b>"}) == "{&#x27;a&#x27;: &#x27;&lt;b&gt;&#x27;}"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=cmd|'/C calc'!A1", "'=cmd|'/C calc'!A1"),
        ("@SUM", "'@SUM"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("\t=1", "'\t=1"),
        ("\r=1", " =1"),
        ("\x1b=1", "'=1"),
        ("a\rb\r\nc\nd", "a b c d"),
        ("a\x1b]0;t\x07\x9b2Jb", "a]0;t2Jb"),
        ("\ud800", "?"),
        (-1, -1),
    ],
)
def test_a_cell_of_csv_is_no_formula_and_breaks_no_row(value, cell):
    assert show.csv_cell(value) == cell


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, ""),
        ("a\n b\t\tc ", "a b c"),
        ("a\u2028b", "a b"),
        ("a\x1b[31m\u202eb\ud800", "a[31mb"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 59 + "…"),
    ],
)
def test_one_line_is_one_line(text, line):
    assert show.one_line(text) == line


@pytest.mark.parametrize(
    "made",
    [
        lambda bad: show.badge(bad),
        lambda bad: show.table([[show.esc(bad)]], [bad]),
        lambda bad: show.facts([(bad, bad)]),
        lambda bad: show.card(show.esc(bad)),
    ],
)
def test_what_is_made_of_foreign_text_holds_no_foreign_markup(made):
    bad = "\"'><img src=x onerror=alert(1)>"

    page = Page(made(bad))

    assert "img" not in [tag for tag, _ in page.tags]
    assert bad in page.text


# Colours


def channels(colour):
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def brightness(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels(colour)]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    dark, bright = sorted((brightness(one), brightness(other)))
    return (bright + 0.05) / (dark + 0.05)


def test_every_colour_is_another():
    for one, other in itertools.combinations(show.COLOURS.values(), 2):
        assert sum(abs(a - b) for a, b in zip(channels(one), channels(other), strict=True)) > 0.3


def test_every_modality_has_a_sign_of_its_own_beside_its_colour():
    assert show.SIGNS.keys() == show.COLOURS.keys()
    assert len(set(show.SIGNS.values())) == len(show.SIGNS)


@pytest.mark.parametrize("colour", show.COLOURS.values())
def test_a_colour_can_be_seen_on_a_white_and_on_a_dark_page(colour):
    assert contrast(colour, "#FFFFFF") > 2.5
    assert contrast(colour, "#111111") > 2.5


@pytest.mark.parametrize("modality", show.COLOURS)
def test_a_badge_says_the_word_with_its_sign_and_colour(modality):
    page = Page(show.badge(modality))

    assert page.text == f"{show.SIGNS[modality]} {modality}"
    assert show.badge_style(modality)[2] in page.tags[0][1]["style"]


def test_a_reply_that_has_not_shown_what_it_is_is_pending():
    assert Page(show.badge(None)).text == "… pending"


# Origin


@pytest.mark.parametrize(("simulated", "word"), [(True, "stand-in: simulated"), (None, "origin unknown"), (False, "")])
def test_only_what_a_known_service_said_bears_no_mark(simulated, word):
    assert Page(show.origin(simulated)).text == word
    assert show.origin_word(simulated) == word


# Small things


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (0, "0 ms"), (339.6, "340 ms"), (9_999, "9999 ms"), (12_304, "12.3 s")]
)
def test_a_duration_reads_as_people_say_it(value, shown):
    assert show.ms(value) == shown


def test_a_player_carries_its_own_sound():
    sound = bytes(range(200))

    [(tag, attributes)] = Page(show.player(sound)).tags

    head, data = attributes["src"].split(",")
    with wave.open(io.BytesIO(base64.b64decode(data))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
        assert file.readframes(1_000) == sound
    assert (tag, head) == ("audio", "data:audio/wav;base64")
    assert "controls" in attributes


def test_an_empty_part_of_a_card_leaves_no_gap():
    assert show.card("a", "", "b").count("<div") == 3


def test_a_table_keeps_its_rows():
    page = Page(show.table([["1", "2"], ["3", "4"]], ["a", "b"]))

    assert [tag for tag, _ in page.tags].count("td") == 4
    assert page.text == "ab1234"


@pytest.mark.parametrize(
    "made", [lambda: show.card("$3"), lambda: show.table([["$3"]], ["$"]), lambda: show.facts([("", "$3 or $7")])]
)
def test_money_is_never_typeset_as_mathematics(made):
    _, attributes = Page(made()).tags[0]

    assert {"mathjax_ignore", "tex2jax_ignore"} <= set(attributes["class"].split())


@pytest.mark.parametrize("modality", [*show.COLOURS, None])
def test_the_words_on_a_badge_can_be_read(modality):
    _, _, ground, ink = show.badge_style(modality)
    ink = "#111111" if ink == "#111" else "#ffffff"

    assert contrast(ground, ink) >= 4.5  # WCAG AA


# JupyterLab's pages and the ink on them: --jp-layout-color0 and --jp-ui-font-color1 (rgba(0, 0, 0, 0.87) on white).
LAB = {"light": ("#ffffff", "#212121"), "dark": ("#111111", "#ffffff")}
WIDGETS = Path(show.__file__).parent / "widgets"
REPORT = Path(show.__file__).parent / "reporting/report.css"
GRAPHIC = ("meter", "::before", ":disabled")  # no words: a mark, or what cannot be pressed


def mixed(one, other, share):
    """`share` of one colour over another, as #rrggbb."""
    pairs = zip(channels(one), channels(other), strict=True)
    return "#" + "".join(f"{round(255 * (share * a + (1 - share) * b)):02x}" for a, b in pairs)


def declared(css):
    """Each rule: its selector, and what it declares."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.S)
    for selector, body in re.findall(r"([^{}]+)\{([^{}]*)\}", css):
        yield selector.strip(), dict(re.findall(r"([\w-]+):\s*([^;]+)", body))


def long_hex(colour):
    return "#" + "".join(2 * c for c in colour[1:]) if len(colour) == 4 else colour


@pytest.mark.parametrize("name", ["sound.css", "events.css"])
@pytest.mark.parametrize("theme", LAB)
def test_the_words_of_a_widget_can_be_read(name, theme):
    ground, ink = LAB[theme]
    css = (WIDGETS / name).read_text()
    n_checked = 0
    for selector, rule in declared(css.replace("var(--bad)", "#d55e00")):
        if any(word in selector for word in GRAPHIC):
            continue
        colour = rule.get("color", "")
        mix = re.match(r"color-mix\(in srgb, (#\w+) (\d+)%, currentColor\)", colour)
        text = mixed(mix[1], ink, int(mix[2]) / 100) if mix else long_hex(colour) if colour.startswith("#") else ink
        below = long_hex(rule["background"]) if rule.get("background", "").startswith("#") else ground
        text = mixed(text, below, float(rule.get("opacity", 1)))
        n_checked += text != ink
        assert contrast(text, below) >= 4.5, (selector, text, below)  # WCAG AA
    assert n_checked > 4


def test_the_words_of_a_report_can_be_read_on_every_page():
    palettes = [
        rule
        for selector, rule in declared(REPORT.read_text().replace("@media (prefers-color-scheme: dark) {", ""))
        if selector.endswith(":root")
    ]
    assert len(palettes) == 3  # light, dark, paper
    for palette, ink, ground in itertools.product(
        palettes, ("--ink", "--muted", "--good", "--bad"), ("--page", "--wash")
    ):
        assert contrast(palette[ink], palette[ground]) >= 4.5, (ink, ground)


def test_what_was_reported_is_an_outline_and_no_badge():
    assert "background" not in show.outline("audio") and "audio" in show.outline("audio")


def test_words_keep_a_number_with_its_unit_and_money_out_of_mathematics():
    markdown = show.Words("about $3 to $7, 80 % of 4 ms")._repr_markdown_()

    assert "$" not in markdown and "&#36;3 to &#36;7" in markdown and "mathjax_ignore" in markdown
    assert "80\u00a0%" in markdown and "4\u00a0ms" in markdown
