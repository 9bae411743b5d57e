"""What a report says of results, and that each text in it is shown and nothing else."""
from __future__ import annotations

import math
import re
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from taglab.goals import Goal
from taglab.report.document import MARKED, Block, Code, Note, Picture, Report, Table, Title
from taglab.report.facts import goal_results
from taglab.report.render import escape, to_html, to_markdown
from taglab.report.sections import changed_by, make_report
from taglab.results.commits import CodeChange, FileChange, PackageChange
from taglab.results.diff import TagDiff, TagFacts
from taglab.results.differences import Change
from tests.report.conftest import PNG, facts, figure, result

HOSTILE = "<script>alert(1)</script> | `x` [a](javascript:b) & \"'\n# **y** <!-- {{ 7 * 7 }} -->"
ALLOWED = {"html", "head", "meta", "title", "style", "body", "header", "main", "section", "p", "h1",
           "h2", "h3", "h4", "ul", "li", "dl", "dt", "dd", "pre", "div", "table", "thead", "tbody",
           "tr", "th", "td", "figure", "img", "figcaption", "footer", "code"}


class Page(HTMLParser):
    """What is in a page: tags, addresses, and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.sources: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.sources += [str(value) for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def blocks(report: Report, title: str) -> list[Block]:
    """Return the blocks of the section with a title."""
    return [block for section in report.sections if section.title.startswith(title)
            for block in section.blocks]


def tables(report: Report, title: str) -> list[list[list[str]]]:
    """Return the tables of a section as texts, without their heads."""
    return [[[cell.text for cell in row] for row in block.rows]
            for block in blocks(report, title) if isinstance(block, Table)]


def hostile_report() -> Report:
    """Return a report in which everything that a person named has a hostile name."""
    run = result(HOSTILE, metrics={HOSTILE: 1.0}, params={HOSTILE: HOSTILE},
                 data={HOSTILE: HOSTILE}, tags={"reason": HOSTILE, "python": HOSTILE,
                                                "build_link": f"http://{HOSTILE}"},
                 nested=(result(HOSTILE), result("b", params={HOSTILE: "2"})))
    named = TagFacts(HOSTILE, HOSTILE, HOSTILE, HOSTILE, {HOSTILE: HOSTILE})
    diff = TagDiff(
        named, named, CodeChange((HOSTILE,), 1, (FileChange(HOSTILE, 1, None),)),
        (Change(HOSTILE, HOSTILE, HOSTILE, None),), (PackageChange(HOSTILE, HOSTILE, HOSTILE),),
        (Change(HOSTILE, HOSTILE, None, HOSTILE),), (), (Change(HOSTILE, HOSTILE, 1.0, 2.0),), (),
        {"params": 1, "packages": 1, "data": 1, "metrics": 1}, {})
    made = facts(run, tag=HOSTILE, message=HOSTILE, difference=diff, packages={"mlflow": HOSTILE},
                 figures=(figure(HOSTILE), figure(HOSTILE, False)), lab=HOSTILE, platform=HOSTILE,
                 remote=f"https://{HOSTILE}", goals=goal_results(
                     [Goal(HOSTILE, HOSTILE, 0.5, True)], (run,)))
    return make_report(made, [(figure(HOSTILE), PNG)], [Title(HOSTILE), Code(HOSTILE)])


def test_hostile_names_are_shown_and_never_become_part_of_the_page() -> None:
    page = to_html(hostile_report())
    found = Page(page)
    assert found.tags <= ALLOWED
    assert not [name for name in found.attributes if name.startswith("on")]
    assert found.sources and all(each.startswith("data:image/png;base64,")
                                 for each in found.sources)
    shown = "\n".join(found.texts)
    assert shown.count(HOSTILE) > 20 and "{{ 7 * 7 }}" in shown
    assert "http" not in re.sub(r"https?://(&lt;|'?<)", "", re.sub("<[^>]*>", "", page)).replace(
        "http-equiv", ""), "the page asks no server"


def test_hostile_names_stay_within_their_cell_in_markdown() -> None:
    text = to_markdown(hostile_report())
    outside = re.sub(r"(?ms)^(`{3,})text\n.*?^\1$", "", text)
    beginning, _, rest = outside.partition("\n")
    assert beginning.startswith("<!-- taglab report [") and beginning.count(">") == 1
    assert not re.search(r"(?<!\\)\[|<|(?<!\\)`x|(?<!\\)\*\*y", rest)
    for table in re.findall(r"(?m)(?:^\|.*\n)+", rest):
        lines = table.splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1, table
    headings = re.findall(r"(?m)^#+ .*", rest)
    assert "# y" not in [each.strip() for each in headings] and headings[1] == "## What ran"


@given(st.text())
@settings(deadline=None, max_examples=15)
def test_any_text_is_shown_in_the_page_as_it_is(text: str) -> None:
    shown = "".join(Page(to_html(make_report(facts(result(), message=f"a{text}z"), []))).texts)
    wanted = re.sub("\r\n?", "\n", f"a{text}z").replace("\0", "")
    assert wanted in shown.replace("\0", "") or "\r" in text


@given(st.text())
def test_any_text_becomes_one_line_of_markdown_without_html(text: str) -> None:
    line = escape(text)
    assert len(line.splitlines()) <= 1 and not re.search(r"[<>]|(?<!\\)(\\\\)*[|`*\[\]]", line)


def test_metrics_without_a_number_are_shown_as_they_are() -> None:
    old, new = TagFacts("a", "1", "", "", {}), TagFacts("b", "2", "", "", {})
    pairs = [(math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0), (0.0, 1.0), (None, 1.0), (2., 1.)]
    diff = TagDiff(old, new, CodeChange((), 0, ()), (), (), (), (), tuple(
        Change("wine", "loss", a, b) for a, b in pairs), (),
        {"params": 0, "packages": 0, "data": 0, "metrics": 0}, {})
    run = result(metrics={"a": math.nan, "b": -math.inf, "c": 1 / 3})
    made = make_report(facts(run, difference=diff), [])
    assert tables(made, "Results") == [[["a", "nan"], ["b", "-inf"], ["c", "0.333333"]]]
    assert [row[2:] for row in tables(made, "Difference to a")[0]] == [
        ["nan", "1", "+nan", ""], ["1", "nan", "+nan", ""], ["inf", "1", "-inf", ""],
        ["0", "1", "+1", ""], ["–", "1", "", ""], ["2", "1", "-1", "-50.00 %"]]
    missed = goal_results([Goal("wine", "a", 0.5, True), Goal("wine", "z", 0.5, False),
                           Goal("beer", "a", 0.5, True)], (run,))
    assert [(goal.metric, goal.met, goal.value is None) for goal in missed] == [
        ("a", False, False), ("z", False, True)], "a goal of what did not run is not judged"


def test_a_tag_without_runs_or_metrics_has_a_report() -> None:
    for runs in ((), (result(status="RUNNING", seconds=None),)):
        made = make_report(facts(*runs), [])
        page, text = to_html(made), to_markdown(made)
        assert "git checkout wine-v2" in page and "lab verify wine-v2" in text
        assert f"0 of {len(runs)} run" in page


def test_of_ten_thousand_trials_the_best_are_shown_and_the_rest_are_counted() -> None:
    trials = tuple(result(
        str(number), run_id=str(number), status="FAILED" if number % 100 == 7 else "FINISHED",
        tags={"trial": str(number)}, params={"x": str(number / 7), "kernel": "ab"[number % 2],
                                             "same": "1"},
        metrics={"error": abs(number - 5000.0)}) for number in range(10_000))
    parent = result(nested=trials, params={"search.direction": "['minimize']",
                                           "search.metric": "['error']"})
    made = make_report(facts(parent), [])
    table = next(block for block in blocks(made, "Results") if isinstance(block, Table)
                 and "trial" in block.head)
    assert table.head == ("trial", "status", "kernel", "x", "error", "time") and table.numbers == 3
    assert [row[0].text for row in table.rows[:3]] == ["5000 best", "4999", "5001"]
    assert len(table.rows) == 10
    assert [cell.text for cell in table.rows[0][2:5]] == ["a", "714.286", "0"]
    assert Note("… and 9990 more: 9890 FINISHED, 100 FAILED.") in blocks(made, "Results")
    assert len(to_html(made)) < 30_000 and len(to_markdown(made)) < 5_000


def test_the_parameters_that_a_tag_changed_are_marked_and_come_first() -> None:
    run = result(params={"epochs": "20", "lr": "0.1", "net.lr": "0.5"}, tags={
        "parameters_from_tag": "net.lr=0.5 note=\"a b\"",
        "parameters_from_command_line": "epochs=20"})
    [table] = [block for block in blocks(make_report(facts(run), []), "Parameters")
               if isinstance(block, Table)]
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["epochs", "on the command line", "20"], ["net.lr", "by the tag", "0.5"],
        ["lr", "", "0.1"]]
    assert [row[0].kind for row in table.rows] == [MARKED, MARKED, ""]
    assert changed_by(run, "lr") == "", "it is another one than net.lr"


def test_what_is_bad_is_told_in_the_summary() -> None:
    good = result(tags={"verified": "same, numbers within 1e-06"})
    bad = result("b", status="KILLED", tags={"dirty": "true", "reason": "its process was killed"})
    made = make_report(facts(good, bad, goals=goal_results([Goal("b", "m", 1, True)], (bad,))), [])
    assert [(cell.text, cell.kind) for cell in made.summary] == [
        ("1 of 2 runs finished", "bad"), ("0 of 1 goal met", "bad"),
        ("with uncommitted changes", "bad"), ("run again: the same", "good")]
    assert Note("b: its process was killed") in blocks(made, "What ran")


def test_images_are_in_the_page_and_those_left_out_are_named() -> None:
    made = make_report(facts(result(), figures=(figure("a.png"), figure("big.png", False))),
                       [(figure("a.png"), PNG)])
    assert Picture("wine: a.png", PNG) in blocks(made, "Figures")
    assert tables(made, "Figures") == [[["wine", "big.png", "14 kB"]]]
    assert "data:image/png;base64,iVBORw0KGgo=" in to_html(made)
    assert "wine: a.png (in the HTML page)" in to_markdown(made)


def test_how_to_get_the_result_again_is_typed_in_full() -> None:
    made = make_report(facts(result(), tag="it's-v1", remote="https://git.example/lab.git"), [])
    [code] = blocks(made, "Reproduce")
    assert isinstance(code, Code)
    lines = [line.partition("  # ")[0].rstrip() for line in code.text.splitlines()]
    assert lines == ["git clone https://git.example/lab.git lab && cd lab",
                     "git checkout 'it'\"'\"'s-v1'", "python3 vendor/taglab init",
                     ". .venv/bin/activate", "lab verify 'it'\"'\"'s-v1'"]
