"""What the grader process does: it stores evaluations by id, checks data sets, seals a winner, opens the test split.

It works with any `InferenceEngine`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import InputError, IntegrityError
from ...files import canonical_json, fingerprint, hash_file, read_json, read_jsonl, write_json, write_jsonl
from ..base_models import chat_template_hash, model_hash
from ..decontamination.gate import ContaminationGate, training_rows
from ..engines.adapter_check import BASE_MODEL, adapter_hash
from ..engines.protocol import InferenceEngine
from ..failures.analysis import Prediction, prediction_row, read_predictions
from ..metrics import JudgedMetric, Measured, metric
from ..metrics.judging import Ask, JudgeQuestion, JudgeReply
from ..regression_checks import form, knowledge_and_refusal
from ..results import ContaminationReport, Evaluation, RegressionCheck
from ..splits import confirm_items, load_items, search_items
from ..task import Split, SplitItem
from . import audit
from . import evaluation_records as ledger
from .evaluator_version import evaluator_identity
from .messages import FROZEN, IDENTITY, Freeze, GraderSetup, Scoring
from .model_scoring import Judging, ScoringMethod, score_model


class GraderService:
    """The service behind the process. Raises subclasses of TrexError; every other exception is a defect."""

    def __init__(self, setup: GraderSetup, engine: InferenceEngine) -> None:
        self._task = setup.task
        self._run_dir = setup.run_dir
        self._threads = setup.threads
        self._engine = engine
        self._metric = metric(self._task.metric)
        self._judge = setup.judge
        self.ask: Ask | None = None
        """Reaches the judge in the course of a request."""
        self._items: dict[Split, list[SplitItem]] = {
            "search": search_items(self._task),
            "confirm": confirm_items(self._task),
        }
        self._identity = self._verified_identity(setup)
        self._identity_hash = fingerprint(self._identity)
        trail = audit.read(self._run_dir)
        own = [entry.detail for entry in trail if entry.who == ledger.WHO]
        if any(detail.get("grader", self._identity_hash) != self._identity_hash for detail in own):
            raise IntegrityError(
                f"{self._run_dir / IDENTITY} was changed since this run began: start a new run"
            )
        self._dev_left = setup.max_evaluations - ledger.openings(trail, "search", "confirm")
        self._gate: ContaminationGate | None = None

    def evaluate(self, adapter: Path | None, split: str, limit: int | None, scoring: Scoring) -> Evaluation:
        """See `Grader.evaluate`."""
        if split not in self._items:
            raise InputError(f"evaluations are on 'search' or 'confirm', not on {split!r}")
        part: Split = "search" if split == "search" else "confirm"
        return self._evaluated(adapter, part, self._items[part][:limit], scoring)

    def check_contamination(self, dataset: Path) -> ContaminationReport:
        """See `Grader.check_contamination`."""
        if self._gate is None:
            self._announce(ledger.OPEN_FOR_GATE, splits=["dev", "test"])
            known = [*self._items["search"], *self._items["confirm"], *self._read_test()]
            self._gate = ContaminationGate([item.as_asked() for item in known], self._task.prompt)
        report = self._gate.check(training_rows(dataset))
        if not report.clean:
            self._announce("contaminated", dataset=dataset.name, matches=report.matches)
        return report

    def seal(self, winner: Path | None) -> Freeze:
        """See `Grader.seal`. Until the test split is opened, another winner may be sealed."""
        freeze = self._freeze(winner)
        opened = self._opened_under()
        if opened - {freeze.key}:
            raise IntegrityError(
                "the test split of this run was already opened for another winner; start a new run to go on"
            )
        if not opened and next(self._run_dir.glob("predictions/test-*"), None) is not None:
            raise IntegrityError(
                f"{self._run_dir / audit.FILE} lacks the opening of the test split, but its predictions exist: "
                "the trail was cut; start a new run"
            )
        self._announce(ledger.SEAL, key=freeze.key, winner=freeze.winner_hash)
        write_json(self._run_dir / FROZEN, freeze.model_dump(mode="json"))
        return freeze

    def score_test(self) -> tuple[Evaluation, Evaluation]:
        """See `Grader.score_test`. The intent is on disk before the split is read."""
        path = self._run_dir / FROZEN
        if not path.exists():
            raise IntegrityError("no winner is sealed, so the test split stays closed: seal one first")
        frozen = Freeze.model_validate(read_json(path))
        winner = None if frozen.winner is None else Path(frozen.winner)
        sealed = [e.detail["key"] for e in audit.read(self._run_dir) if e.what == ledger.SEAL]
        if self._freeze(winner) != frozen or sealed[-1:] != [frozen.key]:
            raise IntegrityError(
                f"{path}: the winner, the base model, the test split or the grader changed after the seal; "
                "the test split stays closed"
            )
        if self._opened_under() - {frozen.key}:
            raise IntegrityError("the test split of this run was already opened for another winner")
        self._announce(ledger.OPEN_TEST, key=frozen.key)
        items = self._read_test()
        return self._evaluated(winner, "test", items, "auto"), self._baseline(items)

    def check_regressions(self, winner: Path) -> list[RegressionCheck]:
        """See `Grader.check_regressions`. The form of answers is compared where they are generated, on `search`."""
        found = knowledge_and_refusal(self._engine, winner)
        if self._task.choices:
            return found
        predictions = [
            read_predictions(self._run_dir, self._evaluated(adapter, "search", self._items["search"], "auto"))
            for adapter in (None, winner)
        ]
        return [*found, *form(*predictions)]

    def _baseline(self, items: list[SplitItem]) -> Evaluation:
        """The base model, scored in the way that gives it the higher score; both scores are in `secondary`."""
        if not self._task.choices:
            return self._evaluated(None, "test", items, "generation")
        methods: tuple[ScoringMethod, ScoringMethod] = ("choices", "generation")
        both = [self._evaluated(None, "test", items, method) for method in methods]
        better = max(both, key=lambda evaluation: evaluation.score.value)
        figures = {f"{each.scoring}_{each.score.name}": each.score.value for each in both}
        return better.model_copy(update={"secondary": better.secondary | figures})

    def _evaluated(
        self, adapter: Path | None, split: Split, items: list[SplitItem], scoring: Scoring
    ) -> Evaluation:
        method = self._method(scoring)
        made_from = {
            "adapter": adapter_hash(adapter),
            "items": [item["id"] for item in items],
            "scoring": method,
            "precision": self._engine.precision,
            "threads": self._threads,
            "identity": {key: value for key, value in self._identity.items() if key not in ("dev", "test")},
        }
        evaluation_id = fingerprint(made_from)
        known = ledger.find(self._run_dir, evaluation_id)
        if known is not None:
            return known
        if split != "test":
            if self._dev_left < 1:
                raise IntegrityError(
                    "this run has used up its evaluations on dev: more would fit its items, not the task"
                )
            self._dev_left -= 1
        self._announce(
            ledger.EVALUATE, id=evaluation_id, split=split, items=len(items), adapter=made_from["adapter"]
        )
        evaluation = self._run(evaluation_id, adapter, split, items, method)
        ledger.keep(self._run_dir, evaluation)
        return evaluation

    def _run(
        self,
        evaluation_id: str,
        adapter: Path | None,
        split: Split,
        items: list[SplitItem],
        method: ScoringMethod,
    ) -> Evaluation:
        started = time.monotonic()
        judging = self._judging(split, items, method)
        scored = score_model(self._engine, self._metric, self._task, items, method, adapter, judging)
        name = f"test-{evaluation_id}" if split == "test" else evaluation_id
        predictions = f"predictions/{name}.jsonl"
        rows = [
            prediction_row(Prediction(item["id"], answer.text, value, answer.truncated, counts))
            for item, answer, value, counts in zip(
                items, scored.answers, scored.measured.values, _counts(scored.measured), strict=True
            )
        ]
        write_jsonl(self._run_dir / predictions, rows)
        return Evaluation(
            id=evaluation_id,
            split=split,
            scoring=method,
            score=scored.score,
            secondary=scored.measured.secondary,
            predictions=predictions,
            unjudged=scored.unjudged,
            seconds=round(time.monotonic() - started, 3),
        )

    def _judging(self, split: Split, items: list[SplitItem], method: ScoringMethod) -> Judging | None:
        """For a judged metric of a run that has a judge. What leaves the grader is announced."""
        asks = self.ask
        if self._judge is None or asks is None or not isinstance(self._metric, JudgedMetric):
            return None

        def ask(questions: Sequence[JudgeQuestion], allowed: int) -> list[JudgeReply]:
            if not questions:
                return []
            keys = fingerprint([question.key for question in questions])
            self._announce(ledger.JUDGE, split=split, judge=self._judge, questions=len(questions), hash=keys)
            return asks(questions, allowed)

        def base_answers() -> list[str]:
            base = self._evaluated(None, split, items, method)
            return [row["prediction"] for row in read_jsonl(self._run_dir / str(base.predictions))]

        return Judging(ask, base_answers)

    def _method(self, scoring: Scoring) -> ScoringMethod:
        if scoring == "choices" and not self._task.choices:
            raise InputError(f"task {self._task.name!r} has no choices, so answers can only be generated")
        if scoring == "auto":
            return "choices" if self._task.choices else "generation"
        return scoring

    def _read_test(self) -> list[SplitItem]:
        items = load_items(self._task.test, self._task)
        seen = {item["id"] for part in self._items.values() for item in part}
        shared = sum(item["id"] in seen for item in items)
        if shared:
            raise InputError(
                f"{shared} test items of task {self._task.name!r} are also in dev; remove them from dev"
            )
        return items

    def _freeze(self, winner: Path | None) -> Freeze:
        parts = {
            "winner_hash": adapter_hash(winner),
            "baseline_hash": fingerprint([BASE_MODEL, self._identity["base_model"]]),
            "test_hash": self._identity["test"],
            "grader_hash": self._identity_hash,
        }
        place = None if winner is None else str(winner.absolute())
        return Freeze(winner=place, key=fingerprint(parts), **parts)

    def _opened_under(self) -> set[str]:
        """Keys under which the audit trail says the test split was opened."""
        return {entry.detail["key"] for entry in audit.read(self._run_dir) if entry.what == ledger.OPEN_TEST}

    def _announce(self, what: str, **detail: Any) -> None:
        """Write into the audit trail what is about to happen."""
        audit.record(self._run_dir, ledger.WHO, what, detail | {"grader": self._identity_hash})

    def _verified_identity(self, setup: GraderSetup) -> dict[str, str]:
        """What makes scores comparable. Written at the first start, required at every later one."""
        task = self._task
        identity = {
            "base_model": model_hash(setup.base_model),
            "chat_template": chat_template_hash(setup.base_model),
            "prompt": fingerprint(task.prompt.model_dump()),
            "choices": canonical_json(task.choices),
            "generation": canonical_json(task.generation.model_dump()),
            "engine": setup.engine,
            "metric": task.metric,
            "search_fraction": str(task.search_fraction),
            "dev": _content(task.dev),
            "test": _content(task.test),
            **evaluator_identity(self._metric, self._engine),
        }
        if isinstance(self._metric, JudgedMetric):
            identity["judge"] = str(setup.judge)
        path = self._run_dir / IDENTITY
        if not path.exists():
            write_json(path, identity)
            return identity
        recorded = read_json(path)
        if "evaluator_version" not in recorded:
            raise IntegrityError(
                f"{path}: this run was begun by an earlier version of TREX, whose scores are not compared with new "
                "ones; it can be shown and reported, but not continued: start a new run"
            )
        changed = sorted(key for key in identity | recorded if identity.get(key) != recorded.get(key))
        if changed:
            raise IntegrityError(
                f"{path}: {', '.join(changed)} changed since this run began, so its scores could not be "
                "compared; undo the change or start a new run"
            )
        return identity


def _counts(measured: Measured) -> list[list[float] | None]:
    """The counts of each item under a pooled metric; None for each under another one."""
    if measured.counts is None:
        return [None] * len(measured.values)
    return [[float(count) for count in row] for row in measured.counts]


def _content(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); check the task's dev and test") from error
