"""Plots: what is on the axes, by their labels and data; pixels are looked at by people."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex
from written_ledger import write

from kit import arms, cases, connect, plots, show, tables
from kit.errors import InputError

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    pyplot.close("all")


@pytest.fixture
def ledger(tmp_path):
    trials = [
        ("1a", "as_is", "a a"),
        ("1a", "as_is", "a a"),
        ("1b", "as_is", "t t"),
        ("1b", "as_is", "a t"),
        ("1b", "as_is", "t !"),
    ]
    trials += [("1b", "retry", "ta a"), ("1b", "retry", "a a"), ("1b", "retry", None), ("1a", "retry", "m a")]
    return write(tmp_path / "a.sqlite", trials)


def drawn(name, ledger, **options):
    """A plot by name, of its table."""
    table = tables.modality_df(ledger)
    of = {
        "modality": lambda: plots.modality(table, **options),
        "strip": lambda: plots.strip(tables.turns_df(ledger), **options),
        "drift_by_length": lambda: plots.drift_by_length(table, **options),
        "first_audio": lambda: plots.first_audio(tables.turns_df(ledger), **options),
        "until_drift": lambda: plots.until_drift(tables.until_drift_df(ledger), **options),
        "cure_cost": lambda: plots.cure_cost(tables.modality_df(ledger, by="arm"), **options),
        "differences": lambda: plots.differences(tables.compare_df(ledger), **options),
    }
    return of[name]()


ALL = ["modality", "strip", "drift_by_length", "first_audio", "until_drift", "cure_cost", "differences"]


def words(ax):
    """Everything that is written on it."""
    texts = [ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel(), *(t.get_text() for t in ax.texts)]
    return "\n".join([*texts, *(label.get_text() for label in [*ax.get_xticklabels(), *ax.get_yticklabels()])])


def mark(ax):
    return [t.get_text() for t in ax.texts if t.get_gid() == "origin"]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("style", plots.STYLES)
def test_every_plot_says_n_date_endpoint_and_that_it_is_simulated(name, style, ledger):
    ax = drawn(name, ledger, style=style)

    assert mark(ax) == [show.SIMULATED]
    assert "2026-11-22 · standin · gpt-realtime" in words(ax)
    assert any(char.isdigit() for char in words(ax).split("2026")[0])
    assert to_hex(ax.get_facecolor()) == plots.STYLES[style].page


@pytest.mark.parametrize("name", ALL)
def test_what_was_measured_has_no_mark_and_what_nobody_knows_has(name, tmp_path):
    trials = [("1b", "as_is", "t t"), ("1b", "retry", "a a")]
    measured = write(tmp_path / "m.sqlite", trials, simulated=0, endpoint="openai")
    unknown = write(tmp_path / "u.sqlite", trials, simulated=None, endpoint="url")

    assert mark(drawn(name, measured)) == []
    assert mark(drawn(name, unknown)) == [show.UNKNOWN_ORIGIN]


@pytest.mark.parametrize("name", ALL)
def test_axes_of_yours_are_drawn_on_and_an_empty_figure_is_given_its_size(name, ledger):
    _, mine = pyplot.subplots()
    figure = plots.figure()

    assert drawn(name, ledger, ax=mine) is mine
    assert drawn(name, ledger, ax=figure).get_figure() is figure
    assert figure.get_size_inches()[0] > 7


def test_a_saved_frame_plots_as_a_fresh_one_does(ledger, tmp_path):
    import pandas as pd

    tables.modality_df(ledger).to_csv(tmp_path / "table.csv", index=False)
    ax = plots.modality(pd.read_csv(tmp_path / "table.csv"))

    assert mark(ax) == [show.SIMULATED]
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "case 1a · as is",
        "case 1a · retry",
        "case 1b · as is",
        "case 1b · retry",
    ]


def test_modality_bars_are_shares_and_the_line_is_the_interval(ledger):
    table = tables.modality_df(ledger)
    ax = plots.modality(table)

    bars = {bars.get_label(): [bar.get_width() for bar in bars] for bars in ax.containers}
    assert bars["¶ text"] == pytest.approx(list(table["drift_rate"]))
    assert np.sum(list(bars.values()), axis=0) == pytest.approx(1)
    (line,) = [lines for lines in ax.collections if lines.get_gid() == "interval"]
    ends = np.array([segment[:, 0] for segment in line.get_segments()])
    assert ends == pytest.approx(table[["drift_low", "drift_high"]].to_numpy())
    assert "67 %  (2 of 3)" in words(ax)
    assert "0 %  (0 of 2; 3 planned)" in words(ax)


def test_a_strip_has_a_cell_per_turn_in_the_colours_of_the_kit(tmp_path):
    ledger = write(
        tmp_path / "a.sqlite",
        [("1b", "as_is", "a t"), ("1b", "as_is", "t t"), ("1b", "as_is", None), ("1b", "as_is", "a !")],
    )

    ax = plots.strip(tables.turns_df(ledger))

    area = {
        cells.get_gid().removeprefix("strip-").removesuffix("-0"): sum(
            np.ptp(path.vertices[:, 0]) * np.ptp(path.vertices[:, 1]) for path in cells.get_paths()
        )
        for cells in ax.collections
        if (cells.get_gid() or "").startswith("strip-")
    }
    assert area == pytest.approx({"text": 3 / 4, "audio": 2 / 4, "failed": 1 / 4, "not run": 2 / 4})
    assert {to_hex(c.get_facecolor()[0]).upper() for c in ax.collections if c.get_gid() == "strip-text-0"} == {
        show.COLOURS["text"]
    }
    assert "33 % text  (1 of 3)" in words(ax)


def test_strips_are_sorted_so_that_the_top_row_reads_as_a_share(tmp_path):
    ledger = write(tmp_path / "a.sqlite", [("1b", "as_is", word) for word in ("a a", "t t", "a t", "t a")])

    ax = plots.strip(tables.turns_df(ledger))

    (text,) = [cells for cells in ax.collections if cells.get_gid() == "strip-text-0"]
    first = sorted(
        (path.vertices[:, 0].min(), path.vertices[:, 0].max())
        for path in text.get_paths()
        if path.vertices[:, 1].max() == 0
    )
    assert np.array(first) == pytest.approx(np.array([(0, 0.25), (0.25, 0.5)]))


def test_a_line_of_first_audio_ends_at_the_share_that_was_heard(ledger):
    ax = plots.first_audio(tables.turns_df(ledger))

    ends = {line.get_label(): line.get_ydata()[-1] for line in ax.get_lines() if not line.get_label().startswith("_")}
    assert ends == pytest.approx({"as is  (2 of 5 never)": 3 / 5, "retry  (all 3)": 1})


def test_the_curve_until_drift_starts_at_all_and_steps_down(ledger):
    ax = plots.until_drift(tables.until_drift_df(ledger, by="arm"))

    lines = {line.get_label(): list(line.get_ydata()) for line in ax.get_lines()}
    assert lines["as is  (5 trials)"] == pytest.approx([1, 3 / 5, 3 / 5 * 2 / 3])


def test_drift_by_length_has_a_point_per_length(tmp_path):
    ledger = write(tmp_path / "a.sqlite", [("1b", "as_is", "t"), ("2b", "as_is", "a")])
    table = tables.modality_df(ledger).assign(history_items=[3.0, 5.0])

    (line,) = plots.drift_by_length(table).get_lines()

    assert (list(line.get_xdata()), list(line.get_ydata())) == ([3, 5], [1, 0])


@pytest.mark.parametrize(
    ("cost", "label"), [("items_sent", "items sent per trial"), ("usd_per_trial", "US dollars per trial")]
)
def test_cure_against_cost_has_a_point_per_arm(cost, label, ledger):
    ax = plots.cure_cost(tables.modality_df(ledger, by="arm"), cost=cost)

    assert {line.get_label(): line.get_ydata()[0] for line in ax.get_lines()} == pytest.approx(
        {"as is": 2 / 5, "retry": 0}
    )
    assert ax.get_xlabel() == label


def test_many_arms_of_one_cost_all_stay_inside_the_picture(tmp_path):
    trials = [("1b", arm.name, "t") for arm in arms.all_arms()] + [("1b", "retry", "t" * 6)]
    ax = plots.cure_cost(tables.modality_df(write(tmp_path / "b.sqlite", trials), by="arm"), cost="responses_per_turn")

    left, right = ax.get_window_extent().intervalx
    drawn = [line.get_transform().transform(line.get_xydata())[0][0] for line in ax.get_lines()]
    assert len(drawn) == len(arms.all_arms()) + 1 and all(left < x < right for x in drawn)


def test_a_single_arm_is_named_where_no_label_names_it(tmp_path, ledger):
    more = write(tmp_path / "b.sqlite", [("1b", "as_is", "t"), ("1b", "one_user_message", "a"), ("1b", "retry", "a")])

    assert plots.differences(tables.compare_df(ledger)).get_title(loc="left") == "“retry” against “as is”"
    assert plots.differences(tables.compare_df(more)).get_title(loc="left") == "Each arm against “as is”"


def test_a_difference_is_filled_only_where_it_is_shown(tmp_path):
    clear = [("x", "as_is", "t")] * 20 + [("x", "cure", "a")] * 20
    open_ = [("y", "as_is", "t"), ("y", "cure", "a")]
    compared = tables.compare_df(write(tmp_path / "a.sqlite", clear + open_))

    points = plots.differences(compared).get_lines()[1:]  # the first is the line at 0

    assert (
        [to_hex(p.get_markerfacecolor()) != "#ffffff" for p in points] == list(compared["shown"]) == [True, False, True]
    )
    assert [p.get_xdata()[0] for p in points] == pytest.approx(list(compared["difference"]))


def test_in_print_modalities_have_patterns(ledger):
    def hatches(style):
        return {
            bars.get_label(): bars[0].get_hatch()
            for bars in plots.modality(tables.modality_df(ledger), style=style).containers
        }

    assert hatches("print")["¶ text"] == "////"
    assert not any(hatches("light").values())


def test_a_frame_that_lacks_a_column_and_a_style_that_there_is_not_are_named(ledger):
    with pytest.raises(InputError, match="no column 'turn'; this plot takes what tables.turns_df makes"):
        plots.strip(tables.attempts_df(ledger))
    with pytest.raises(InputError, match=r"a plot takes a DataFrame, here what tables\.modality_df makes"):
        plots.modality(ledger)
    with pytest.raises(InputError, match="no style is called 'sepia'; there are light, dark, print"):
        plots.modality(tables.modality_df(ledger), style="sepia")


def test_foreign_words_are_shown_and_do_nothing(tmp_path):
    ledger = write(tmp_path / "a.sqlite", [("<script>\u202e", "as_is", "t")])

    svg = plots.svg(
        plots.modality(tables.modality_df(ledger, by=["case", "arm"]), ax=plots.figure()), themed=True, alt="<b>"
    )

    assert "<script>" not in svg and "&lt;b&gt;" in svg


def test_a_name_that_would_be_a_broken_formula_is_text(tmp_path):
    ledger = write(tmp_path / "a.sqlite", [(r"$\frac{$", "as_is", "t")])

    svg = plots.svg(plots.modality(tables.modality_df(ledger, by=["case", "arm"]), ax=plots.figure()), themed=True)

    assert svg.startswith("<svg")  # matplotlib raises where it draws a formula that is none


def test_an_svg_follows_the_page_and_fetches_nothing(ledger):
    svg = plots.svg(plots.modality(tables.modality_df(ledger), ax=plots.figure()), themed=True, prefix="p-")

    assert "var(--ink)" in svg and plots.STYLES["light"].ink not in svg
    assert 'id="p-' in svg and 'href="#p-' in svg
    assert not [word for word in svg.split('"') if word.startswith("http") and "w3.org" not in word]


def test_a_ledger_without_any_answer_still_draws(tmp_path):
    ledger = write(tmp_path / "a.sqlite", [("1b", "as_is", None), ("1b", "retry", None)], n_turns=2)

    for name in ("modality", "strip", "first_audio", "until_drift", "cure_cost", "drift_by_length", "differences"):
        assert drawn(name, ledger).get_title(loc="left")


def test_the_level_of_the_intervals_is_printed_not_assumed(ledger):
    for draw, table in (
        (plots.modality, tables.modality_df(ledger, level=0.5)),
        (plots.drift_by_length, tables.modality_df(ledger, level=0.5)),
        (plots.until_drift, tables.until_drift_df(ledger, ["arm"], level=0.5)),
        (plots.differences, tables.compare_df(ledger, level=0.5)),
    ):
        assert "50 %" in words(draw(table)) and "95 %" not in words(draw(table))
    assert "95 %" not in words(plots.modality(tables.modality_df(ledger).drop(columns="level")))


def test_where_lost_voices_are_counted_the_line_and_the_figure_are_theirs(tmp_path):
    trials = [("1b", "as_is", word) for word in ("a a", "a t", "s a", "l l")]
    table = tables.modality_df(write(tmp_path / "a.sqlite", trials, outcomes=True))

    ax = plots.modality(table, outcome="lost_voice")

    assert "50 %  (2 of 4)" in words(ax) and "interval of lost voice" in " ".join(words(ax).split())
    (line,) = [lines for lines in ax.collections if lines.get_gid() == "interval"]
    assert line.get_segments()[0][:, 0] == pytest.approx([table["lost_voice_low"][0], table["lost_voice_high"][0]])
    with pytest.raises(InputError, match="there are text and lost_voice"):
        plots.cure_cost(table, outcome="silent")
    with pytest.raises(InputError, match="cannot be drawn"):
        plots.modality(table, turns="all", outcome="lost_voice")
    older = tables.modality_df(write(tmp_path / "b.sqlite", trials[:2]))
    with pytest.raises(InputError, match="counts no lost voices"):
        plots.modality(older, outcome="lost_voice")
    assert "not counted" in words(plots.modality(pd.concat([table, older]), outcome="lost_voice"))


def test_lost_voice_is_marked_beside_drift_and_in_the_strip(tmp_path):
    trials = [("1b", "as_is", word) for word in ("a a", "t t", "s a", "l l")]
    ledger = write(tmp_path / "a.sqlite", trials, outcomes=True)

    ax = plots.modality(tables.modality_df(ledger))
    (diamond,) = [line for line in ax.get_lines() if line.get_gid() == "lost-voice"]
    assert list(diamond.get_xdata()) == [3 / 4] and "text, silent or late" in words(ax)
    strip = plots.strip(tables.turns_df(ledger))
    assert {"strip-silent-0", "strip-late-0"} <= {cells.get_gid() for cells in strip.collections}
    assert not [
        line
        for line in plots.modality(tables.modality_df(write(tmp_path / "b.sqlite", trials[:2]))).get_lines()
        if line.get_gid()
    ]


@pytest.mark.parametrize("name", ALL)
def test_no_text_is_under_10_px_where_the_picture_is_480_px_wide(name, ledger):
    import re

    ax = drawn(name, ledger, ax=plots.figure())

    width_pt = float(re.search(r'width="([\d.]+)pt"', plots.svg(ax))[1])
    smallest = min(text.get_fontsize() for text in ax.get_figure().findobj(mpl.text.Text) if text.get_text())
    assert smallest * 480 / width_pt >= 10


@pytest.mark.parametrize("name", ALL)
def test_a_picture_follows_the_theme_and_has_words_and_files(name, ledger):
    picture = plots.Picture(drawn(name, ledger, ax=plots.figure()), tables.modality_df(ledger))

    html = picture._repr_html_()
    assert "var(--jp-ui-font-color1" in html and plots.STYLES["light"].ink not in html
    assert 'role="img" aria-label="' in html and "stand-in: simulated" in picture.alt and "2026-11-22" in picture.alt
    assert 'download="picture.png"' in html and 'download="table.csv"' in html


async def test_a_pair_is_a_wave_against_silent_words_on_one_clock():
    async with connect() as control, connect() as session:
        await control.seed(cases.one_a.history)
        await control.respond()
        await session.seed(cases.one_b.history)
        await session.respond()

    ax = plots.pair(control, session)

    (wave,) = [shape for shape in ax.collections if shape.get_gid() == "wave"]
    response, text = control.responses[-1], session.responses[-1]
    x = wave.get_paths()[0].vertices[:, 0]
    assert x.max() - x.min() == pytest.approx(response.n_audio_bytes / 48_000, abs=0.01)
    written = words(ax).replace("\n", " ")
    assert "no earlier reply" in written and "after 1 earlier reply" in written
    assert "0 bytes of audio" in written and text.text[:20] in written and mark(ax) == [show.SIMULATED]
    with pytest.raises(InputError, match="no response 7"):
        plots.pair(control, session, response=7)


async def test_a_timeline_has_the_words_of_each_mark_for_a_pointer():
    async with connect() as session:
        await session.ask("Tell me a joke.")

    svg = plots.timeline(session).svg()

    assert svg.count("<title>") == len(plots.timeline(session).marks) + 1
    assert session.responses[-1].transcript[:12] in svg and "simulated" in svg


@pytest.mark.parametrize("name", ALL)
def test_the_smallest_ledger_has_room_for_its_words(name, tmp_path):
    """A warning of matplotlib's layout is an error here."""
    trials = [
        ("1b", "as_is", "s"),
        ("1b", "as_is", "l"),
        ("1b", "retry", "t"),
        ("1b", "as_is", "m"),
        ("1b", "as_is", "f"),
        ("1b", "as_is", "x !"),
    ]
    ledger = write(tmp_path / "a.sqlite", trials, outcomes=True)

    assert plots.svg(drawn(name, ledger, ax=plots.figure()))
    only = write(tmp_path / "b.sqlite", trials[:1], outcomes=True)
    if name != "differences":
        assert plots.svg(drawn(name, only, ax=plots.figure()))


@pytest.mark.parametrize("name", ALL)
def test_a_picture_of_every_arm_has_room_for_their_names(name, tmp_path):
    trials = [("1b", arm.name, word) for arm in arms.all_arms() for word in ("t a", "a a")]

    assert plots.svg(drawn(name, write(tmp_path / "a.sqlite", trials), ax=plots.figure()))


def test_a_picture_is_shown_once_and_not_again_as_an_open_figure():
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    before = plt.get_fignums()
    picture = plots.Picture(ax)

    assert len(plt.get_fignums()) == len(before) - 1
    assert "<svg" in picture._repr_html_()


def test_a_picture_of_ones_own_is_in_the_kits_colours_too():
    ax = plots.blank()
    ax.set(title="Mine", xlabel="x")
    page = plots.Picture(ax)._repr_html_()

    assert ax.title.get_color() == plots.STYLES["light"].ink  # which a theme's colour takes the place of
    assert "#000000" not in page and plots.STYLES["light"].ink not in page


def test_the_table_beside_a_picture_holds_no_formula_for_a_spreadsheet():
    import base64
    import re

    import pandas as pd

    page = plots.Picture(plots.blank(), pd.DataFrame({"case": ["=1+1"], "n": [-1]}))._repr_html_()

    csv = base64.b64decode(re.search(r'data:text/csv;base64,([^"]+)', page)[1]).decode()
    assert "\n'=1+1,-1\n" in csv
