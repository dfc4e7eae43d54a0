"""oMeScore: equal to the official scorer, and what was corrected."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.places import DATA
from trex.errors import InputError, TrexError
from trex.evaluation.metrics import Metric, measure, metric
from trex.evaluation.metrics.omescore import Figures, OmeScore, corrected_steps, upstream_steps
from trex.files import read_jsonl
from trex.ftbench.tasks import omebench

OFFICIAL = list(read_jsonl(DATA / "omescore_official.jsonl"))
SAMPLES = {record.row["reaction_id"]: record.row for record in omebench.BENCHMARK.samples()}
GOLD = {
    "id": "r1",
    "mechanism": [
        {"subtype": "nucleophilic_addition", "intermediate_smiles": "CCCC([O-])C#N", "step_weight": 0.7},
        {"subtype": "acid_base_proton_transfer", "intermediate_smiles": "CCCC(O)C#N", "step_weight": 0.3},
    ],
}


def step(subtype: str, smiles: Any) -> dict[str, Any]:
    return {"subtype": subtype, "intermediate_smiles": smiles}


ADDED = step("nucleophilic_addition", "CCCC([O-])C#N")
MOVED = step("acid_base_proton_transfer", "CCCC(O)C#N")


def figures(answer: str | list[Any], upstream: bool = False) -> Figures:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return OmeScore(upstream=upstream).figures([GOLD], [text])[0]


def test_every_official_value_is_reproduced() -> None:
    rows = [SAMPLES[case["reaction_id"]] for case in OFFICIAL]
    answers = [case["answer"] for case in OFFICIAL]
    scorer = OmeScore(upstream=True)
    found = scorer.figures(rows, answers)
    expected = [Figures(c["S_total"], c["S_partial"], c["V"], c["L"]) for c in OFFICIAL]
    assert found == expected
    assert len(expected) >= 200
    assert sum(0 < f.partial < 1 for f in expected) >= 50
    assert sum(f.total < f.partial for f in expected) >= 2
    assert sum(f == Figures() for f in expected) >= 30


def test_worked_example() -> None:
    assert figures([ADDED, MOVED]) == Figures(1.0, 1.0, 1.0, 1.0)
    assert figures([MOVED, ADDED]) == Figures(0.7, 0.7, 1.0, 0.5)  # one pair only, the heavier
    assert figures([MOVED]) == Figures(0.3, 0.3, 1.0, 0.5)
    assert figures([ADDED, step("dissociation", "C1CC"), MOVED]) == Figures(1.0, 1.0, 2 / 3, 1.0)


def test_only_similar_structures_gain_in_part() -> None:
    near = figures([step("nucleophilic_addition", "CCCCC([O-])C#N")])
    assert near.total == 0.0
    assert 0.7 * 0.60 <= near.partial < 0.7
    unlike = [step("nucleophilic_addition", "CCO"), step("acid_base_proton_transfer", "CCC")]
    assert figures(unlike) == Figures(0.0, 0.0, 1.0, 1.0)
    assert figures([step("coordination", "CCCC([O-])C#N")]) == Figures(0.0, 0.0, 1.0, 0.0)


def test_a_pair_at_the_end_hides_a_match_before_it_that_gains_nothing() -> None:
    # the rank of the last choice is compared before the penalties of all, so that L is 0 and not 1/2
    assert figures([step("nucleophilic_addition", "CCO")]) == Figures(0.0, 0.0, 1.0, 0.0)


def test_total_comes_before_partial() -> None:
    # the second predicted step is the gold one, the first merely like it: the pair goes to the exact one
    answer = [step("nucleophilic_addition", "CCCCC([O-])C#N"), ADDED]
    assert figures(answer) == Figures(0.7, 0.7, 1.0, 0.5)


def test_upstream_rounds_and_the_corrected_form_does_not() -> None:
    answer = [
        step("nucleophilic_addition", "CCCC([O-])C#N"),
        step("acid_base_proton_transfer", "CCCCC(O)C#N"),
    ]
    exact = figures(answer).partial
    assert figures(answer, upstream=True).partial == round(exact, 2) != exact
    assert OmeScore(upstream=True).aggregate([0.33, 0.33, 0.34]) == 0.333
    assert OmeScore().aggregate([0.33, 0.33, 0.34]) == pytest.approx(1 / 3)


LIST = json.dumps([{"step": 1, **ADDED}, {"step": 2, **MOVED}])


@pytest.mark.parametrize(
    ("answer", "upstream", "corrected"),
    [
        (LIST, 1.0, 1.0),
        (f"[ANSWER]\n{LIST}\n[/ANSWER]", 1.0, 1.0),
        (f"So: [ANSWER] {LIST}", 1.0, 1.0),
        (f"```json\n{LIST}\n```", 1.0, 1.0),
        (f"The answer is : {LIST}", 1.0, 1.0),
        (json.dumps({"mechanism": json.loads(LIST)}), 1.0, 1.0),
        (f"Here is the mechanism:\n{LIST}\nDone.", 0.0, 1.0),
        (f"Steps:\n```json\n{LIST}\n```", 0.0, 1.0),
        (LIST.replace("{", "{{").replace("}", "}}"), 0.0, 1.0),
        (LIST.replace("_", r"\_"), 0.0, 1.0),
        (LIST.replace("}]", "},]"), 0.0, 1.0),
        (LIST.replace("nucleophilic_addition", "Nucleophilic addition"), 0.3, 1.0),
        (f"<think>{json.dumps([MOVED])}</think>{LIST}", 0.0, 1.0),
        (f"{json.dumps([MOVED])} or rather {LIST}", 0.0, 1.0),
        (LIST[:-20], 0.0, 0.7),  # cut off within the second step
        (LIST.replace("C#N", "C#N (adduct)", 1), 1.0, 0.3),  # a name is no part of a SMILES
        (json.dumps([ADDED, {"subtype": "coordination"}, MOVED]), 0.0, 1.0),
        (json.dumps([ADDED, step("coordination", None), MOVED]), 0.0, 1.0),
        (json.dumps([ADDED, "…", MOVED]), 0.0, 1.0),
        ("[]", 0.0, 0.0),
        ("{}", 0.0, 0.0),
        ("[" * 5000, 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_what_is_read(answer: str, upstream: float, corrected: float) -> None:
    assert figures(answer, upstream=True).partial == upstream
    assert figures(answer).partial == pytest.approx(corrected)


def test_half_a_surrogate_pair_scores_nothing_upstream() -> None:
    answer = [ADDED, step("coordination", "\ud800"), MOVED]
    assert figures(answer, upstream=True) == Figures()
    assert figures(answer).partial == 1.0


@given(st.text(alphabet='[]{}",:`_\\ CO1subtype', max_size=80))
def test_any_text_is_read(text: str) -> None:
    for read in (upstream_steps, corrected_steps):
        steps = read(text)
        assert steps is None or isinstance(steps, list)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_gold_scores_one_and_less_of_it_less(reaction: str, data: st.DataObject) -> None:
    row = SAMPLES[reaction]
    steps = row["mechanism"]
    kept = data.draw(st.lists(st.booleans(), min_size=len(steps), max_size=len(steps)))
    answer = json.dumps([step for step, keep in zip(steps, kept, strict=True) if keep])
    weight = sum(step["step_weight"] for step, keep in zip(steps, kept, strict=True) if keep)
    [partial] = OmeScore().score_items([row], [answer])
    assert partial == (1.0 if all(kept) else pytest.approx(weight))


def test_figures_beside_the_score() -> None:
    scorer = metric("omebench")
    assert isinstance(scorer, Metric)
    found = measure(
        scorer, [GOLD, GOLD], [f"Well: {LIST}", json.dumps([MOVED, step("coordination", "C1CC")])]
    )
    assert found.values == [1.0, 0.3]
    assert found.secondary == pytest.approx(
        {"V": 0.75, "L": 0.75, "S_total": 0.65, "parsed": 1.0, "omescore/upstream": 0.15}
    )
    assert metric("omebench/upstream").name == "omescore/upstream"


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"row r9 .*'mechanism'"):
        OmeScore().score_items([{"id": "r9"}], ["[]"])
    weightless = {"id": "r9", "mechanism": [ADDED]}
    with pytest.raises(InputError, match=r"row r9, column 'mechanism', step 1 has no 'step_weight'"):
        OmeScore().score_items([weightless], ["[]"])
    assert OmeScore(upstream=True).score_items([weightless], [json.dumps([ADDED])]) == [0.0]
    with pytest.raises(InputError, match="no subtasks"):
        metric("omebench:easy")
    with pytest.raises(TrexError, match="no items"):
        OmeScore().aggregate([])
