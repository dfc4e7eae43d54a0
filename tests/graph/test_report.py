"""What people look at: `show` JSON, the page, the Markdown, the pictures, the model card."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support.runs import SyntheticRun, make_experiments, make_run
from trex.errors import InputError
from trex.evaluation.results import FailureCase
from trex.evaluation.splits import search_items
from trex.files import write_json, write_jsonl
from trex.graph.cli.console import RunConsole
from trex.graph.finish.finish_record import FinishRecord
from trex.graph.finish.model_card import model_card, snippet
from trex.graph.finish.training_chain import Link
from trex.graph.report.charts import learning_curves_svg, progress_svg, ticks
from trex.graph.report.formatting import compare_with_baseline, tree_lines
from trex.graph.report.html import html
from trex.graph.report.markdown import markdown
from trex.graph.report.plot import plot_run
from trex.graph.report.report_model import Report
from trex.graph.report.summary import RunSummary, summarise
from trex.graph.report.tree_layout import layout, path_to
from trex.graph.report.tree_svg import tree_svg
from trex.graph.report.verification import Verified
from trex.graph.report.write_report import write_report
from trex.graph.steering.control import Control
from trex.graph.tree.experiment import Experiment
from trex.graph.tree.tree import Tree

HOSTILE = '<script>alert(1)</script> "><img src=x onerror=alert(2)> ]]> & | `x` {{ 7*7 }} </title> $x_'


@pytest.fixture
def run(tmp_path: Path) -> SyntheticRun:
    return make_run(tmp_path, rounds=14, trials=3, seed=7)


def summary_of(run: SyntheticRun) -> RunSummary:
    return summarise(Verified(run.info, Tree(run.experiments), run.finish), run.spend)


def report_of(run: SyntheticRun) -> Report:
    return Report(summary_of(run), Tree(run.experiments), run.cases, ["movies: 7604 rows"])


class Page(HTMLParser):
    """Collects what a browser would run, fetch, link to and show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_show_json_has_the_promised_shape(run: SyntheticRun) -> None:
    shown = json.loads(summary_of(run).model_dump_json())
    assert shown["status"] == "done"
    assert {"task", "seed", "rounds", "experiments", "best", "spend", "policy", "directory"} <= shown.keys()
    assert len(shown["experiments"]) == 15
    experiment = shown["experiments"][1]
    assert {
        "id",
        "parent_id",
        "round",
        "strategy",
        "direction",
        "status",
        "reward",
        "visits",
    } <= experiment.keys()
    assert {"hypothesis", "verdict", "failure", "trials"} <= experiment.keys()
    assert experiment["score"].keys() == {"value", "ci_low", "ci_high", "n"}
    trial = experiment["trials"][0]
    assert {"id", "status", "score", "note", "attempts", "reused", "seconds"} <= trial.keys()
    best = shown["best"]
    assert isinstance(best["dev"], float)
    for name in ("dev_interval", "confirm", "test", "baseline_test"):
        assert best[name].keys() == {"value", "ci_low", "ci_high", "n"}, name
    kinds = ["active", "training", "evaluation", "loading", "overhead"]
    assert {f"{kind}_seconds" for kind in kinds} <= shown["spend"].keys()
    assert shown["experiments"][0]["visits"] == 15
    assert RunSummary.model_validate(shown) == summary_of(run)


def test_status_follows_the_end_the_process_and_the_failure(run: SyntheticRun) -> None:
    tree = Tree(run.experiments)

    def status(finish: FinishRecord | None, alive: bool = False, failure: str | None = None) -> str:
        return summarise(Verified(run.info, tree, finish), run.spend, alive=alive, failure=failure).status

    assert status(run.finish) == "done"
    assert status(None, alive=True) == "running"
    assert status(None) == "interrupted"
    assert status(None, failure="the disk is full") == "failed"
    assert status(None, alive=True, failure="an earlier one") == "running"


def test_before_its_end_the_leader_stands_in_without_a_test_score(run: SyntheticRun) -> None:
    shown = summarise(Verified(run.info, Tree(run.experiments), None), run.spend)
    assert shown.best is not None
    assert shown.best.test is None and shown.best.confirm is None
    assert summarise(Verified(run.info, Tree(run.experiments[:1]), None), run.spend).best is None
    assert summarise(Verified(run.info, Tree([]), None), run.spend).experiments == []


def test_verdict_is_arithmetic_on_the_paired_interval(run: SyntheticRun) -> None:
    gain = run.finish.test_gain
    assert gain is not None
    kinds = {}
    for low, high in ((0.01, 0.2), (-0.01, 0.2), (-0.2, -0.01)):
        changed = gain.model_copy(update={"ci_low": low, "ci_high": high})
        run.finish = run.finish.model_copy(update={"test_gain": changed})
        kinds[low] = compare_with_baseline(summary_of(run)).kind
    assert kinds == {0.01: "better", -0.01: "noise", -0.2: "worse"}
    run.finish = run.finish.model_copy(update={"test_gain": None})
    assert compare_with_baseline(summary_of(run)).kind == "better"
    run.finish = run.finish.model_copy(update={"winner_trial": None})
    assert compare_with_baseline(summary_of(run)).word == "no winner"
    html(report_of(run))


def test_the_page_shows_every_experiment_and_fetches_nothing(run: SyntheticRun) -> None:
    text = html(report_of(run))
    page = Page(text)
    assert "script" not in page.tags and "link" not in page.tags and "img" not in page.tags
    links = [value for name, value in page.attributes if name in ("href", "src", "action", "data")]
    assert links and all(link.startswith("#") for link in links)
    targets = {value for name, value in page.attributes if name == "id"}
    assert {link[1:] for link in links} <= targets
    assert not re.search(r"https?://|@import|url\(", text)
    shown = " ".join(page.text)
    for experiment in run.experiments:
        assert experiment.id in targets
        assert not experiment.plan or experiment.plan.hypothesis in shown
    assert run.cases[0].reference in shown
    assert "not confined" in shown


def hostile(run: SyntheticRun) -> SyntheticRun:
    """The same run with hostile text wherever a plan, a data set, a model or an error can put it."""

    def poisoned(experiment: Experiment) -> Experiment:
        text = experiment.model_dump(mode="json")
        text["failure"] = text["failure"] and HOSTILE
        text["repairs"] = [HOSTILE]
        if experiment.plan:
            text["plan"] |= {"hypothesis": HOSTILE, "direction": HOSTILE}
            for card in text["datasets"].values():
                card["summary"] = HOSTILE
            text["diagnosis"] |= {"summary": HOSTILE, "causes": [HOSTILE], "insights": [HOSTILE]}
        for trial in text["trials"]:
            trial |= {"note": HOSTILE, "message": HOSTILE, "repairs": [HOSTILE]}
        return Experiment.model_validate(text)

    case = FailureCase(id="x", prompt=HOSTILE, reference=HOSTILE, prediction=HOSTILE)
    task = run.task.model_copy(update={"requirement": HOSTILE, "metric": HOSTILE})
    return SyntheticRun(
        run.info.model_copy(update={"task": task}),
        [poisoned(e) for e in run.experiments],
        run.finish,
        run.spend,
        [case],
    )


def test_hostile_text_stays_text(run: SyntheticRun) -> None:
    report = report_of(hostile(run))
    page = Page(html(report))
    assert "script" not in page.tags and "img" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert HOSTILE in " ".join(page.text)
    text = markdown(report)
    outside = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
    assert not re.search(r"(?<!\\)<(script|img)", outside)
    rows = [line for line in outside.splitlines() if line.startswith("| 1")]
    assert rows and all(len(re.findall(r"(?<!\\)\|", row)) == 8 for row in rows)


def test_report_of_a_run_directory(run: SyntheticRun, tmp_path: Path) -> None:
    rows = [{"text": f"snippet {i}", "label": "positive"} for i in range(40)]
    write_jsonl(run.task.dev, rows)
    best = Tree(run.experiments)[run.finish.winner_experiment or ""]
    assert best.evaluation is not None and best.evaluation.predictions is not None
    items = search_items(run.task)
    write_jsonl(
        tmp_path / best.evaluation.predictions,
        [{"id": item["id"], "prediction": "negative", "value": 0.0} for item in items],
    )
    write_json(tmp_path / "research.json", {"notes": [{"text": "ratings are skewed", "source": "movies"}]})
    Control(tmp_path).hint("try <b>shorter</b> inputs")
    Control(tmp_path).hint("no synthetic rows", origin="rejection", about="e0003")
    page = write_report(Verified(run.info, Tree(run.experiments), run.finish), summary_of(run)).read_text()
    assert "try &lt;b&gt;shorter&lt;/b&gt; inputs" in page
    assert "no synthetic rows (with a rejected plan: e0003)" in page
    assert page.count('class="case"') == min(12, len(items))
    assert "ratings are skewed" in page
    assert "ratings are skewed" in (tmp_path / "report.md").read_text()
    with pytest.raises(InputError, match="no result yet"):
        write_report(Verified(run.info, Tree([]), None), summary_of(run))


def test_markdown_tells_the_story(run: SyntheticRun) -> None:
    text = markdown(report_of(run))
    assert "★" in text and "✗ failed" in text
    assert compare_with_baseline(summary_of(run)).sentence in text
    assert "Rows after each step: movies: 7604 rows; threshold: 4210; sample: 600" in text
    assert f"trex replay {run.info.settings.directory}" in text
    best = summary_of(run).best
    lines = list(tree_lines(summary_of(run).experiments, best.experiment if best else None))
    assert len(lines) == 15 and lines[0].startswith("baseline")


def test_pictures_are_wellformed_and_complete(run: SyntheticRun) -> None:
    summary = summary_of(run)
    best = run.finish.winner_experiment
    picture = Xml.fromstring(tree_svg(summary.experiments, best))
    pills = [element.get("class", "") for element in picture.iter("rect")]
    assert len(pills) == 15
    assert sum("best" in kind for kind in pills) == 1
    assert sum("failed" in kind for kind in pills) == sum(e.status == "failed" for e in run.experiments) > 0
    edges = [element.get("class") for element in picture.iter("path")]
    assert edges.count("edge best") == len(path_to(summary.experiments, best)) - 1
    chart = Xml.fromstring(progress_svg(summary))
    assert len(list(chart.iter("circle"))) == sum(e.score is not None for e in summary.experiments)
    curves = Xml.fromstring(learning_curves_svg(run.experiments[1].trials, run.experiments[1].best_trial))
    assert len(list(curves.iter("polyline"))) == 3


@given(rounds=st.integers(0, 40), seed=st.integers(0, 10_000))
def test_no_two_nodes_share_a_place(rounds: int, seed: int) -> None:
    experiments = make_experiments(rounds, trials=1, seed=seed)
    best = max(experiments, key=lambda e: e.reward).id
    places = layout(experiments, best)
    assert len({(place.column, place.row) for place in places.values()}) == len(experiments)
    assert all(places[node].row == 0 for node in path_to(experiments, best))
    leaves = {e.id for e in experiments} - {e.parent_id for e in experiments}
    assert sorted(places[leaf].row for leaf in leaves) == list(range(len(leaves)))


@given(
    low=st.floats(-1e6, 1e6, allow_nan=False),
    span=st.floats(0, 1e6, allow_nan=False),
)
def test_ticks_cover_the_range(low: float, span: float) -> None:
    marks = ticks(low, low + span)
    assert marks == sorted(marks)
    tolerance = 1e-6 * max(1.0, abs(low), span)  # no mark of its own for an end so near to another
    assert marks[0] <= low + tolerance and marks[-1] >= low + span - tolerance
    assert len(marks) <= 12


def test_plot_draws_any_tree(run: SyntheticRun, tmp_path: Path) -> None:
    figure = plot_run(Tree(hostile(run).experiments), run.finish.winner_experiment)
    figure.savefig(tmp_path / "run.png", dpi=30)
    assert len(figure.axes) == 2
    plot_run(Tree([])).savefig(tmp_path / "empty.png", dpi=30)


def test_model_card_names_data_scores_and_code(run: SyntheticRun) -> None:
    experiment = Tree(run.experiments)[run.finish.winner_experiment or ""]
    trial = next(t for t in experiment.trials if t.id == experiment.best_trial)
    card = model_card(run.task, [Link(experiment, trial)], run.finish)
    [code] = re.findall(r"^```python\n(.*?)^```$", card, re.DOTALL | re.MULTILINE)
    compile(code, "card", "exec")
    assert code.strip() == snippet(run.task).strip()
    assert "Answer with one word" in code and "'label': " not in code
    assert "| movies | Movie reviews | MIT |" in card
    assert run.finish.test is not None and f"{run.finish.test.score.value:.3f}" in card
    tricky = run.task.prompt.model_copy(update={"user": 'Say """ and ```\n```\n{text}'})
    compile(snippet(run.task.model_copy(update={"prompt": tricky})), "card", "exec")


def test_the_live_console_draws_the_tree(run: SyntheticRun) -> None:
    shown = io.StringIO()
    console = RunConsole(run.info.settings, Console(file=shown, width=100))
    console(
        {"event": "experiment", "id": "e000", "parent": None, "strategy": "establish_baseline", "value": 0.6}
    )
    for node, parent, value in (("e001", "e000", 0.8), ("e002", "e001", 0.9), ("e003", "e000", None)):
        plan = {"id": node, "parent": parent, "direction": "learning_rate", "hypothesis": "", "trials": []}
        console({"event": "planned", **plan, "strategy": "adjust_training"})
        outcome = {"value": value, "failure": None if value else "the loss became NaN"}
        console({"event": "experiment", "id": node, "parent": parent, "status": "done", **outcome})
    display = io.StringIO()
    Console(file=display, width=100).print(console._display())
    assert display.getvalue().splitlines()[:4] == [
        "e000 0.600 establish baseline",
        "├─ e001 0.800 learning rate",
        "│  └─ e002 0.900 learning rate ★",
        "└─ e003 ✗ learning rate",
    ]
    resumed = RunConsole(run.info.settings, Console(file=shown, width=100))
    resumed({"event": "planned", **plan, "strategy": "adjust_training"})
    Console(file=display, width=100).print(resumed._display())
    assert "e003 … learning rate" in display.getvalue(), "its parent is not known to this process"
