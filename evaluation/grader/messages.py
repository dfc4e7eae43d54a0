"""The messages between the grader's client and the grader process: one JSON object a line.

The client sends a `GraderSetup`, then one `GraderRequest` at a time. Each gets one `GraderResponse` with its number.
Under a judged metric the grader, which has neither keys nor a network, asks first: a response with `questions`, which
the client answers with a request `judged`.
Both sides import this module. It needs neither torch nor transformers, so that another program can implement either
side.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ..engines import DEFAULT_ENGINE
from ..metrics.judging import JudgeQuestion, JudgeReply
from ..results import ContaminationReport, Evaluation, RegressionCheck
from ..task import Task

IDENTITY, FROZEN = "grader.json", "frozen.json"
"""Files of a run directory: what makes its scores comparable, and its sealed winner (`Freeze`)."""

Scoring = Literal["auto", "choices", "generation"]
Action = Literal["evaluate", "check_contamination", "seal", "score_test", "check_regressions", "judged"]
ErrorKind = Literal["TrexError", "InputError", "PlanError", "IntegrityError", "TooManyUnjudged", "DiskFull"]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GraderSetup(_Line):
    """The first line: what is graded, with which base model, and where results are written."""

    task: Task
    run_dir: Path
    base_model: Path = Field(description="Directory with safetensors and tokenizer")
    engine: str = Field(default=DEFAULT_ENGINE, description="The inference engine, by its registered name")
    threads: int = Field(ge=1, description="CPU threads of the inference engine")
    judge: str | None = Field(default=None, description="The judge that the client asks, by name")
    max_evaluations: int = Field(
        default=25_000, ge=1, description="Evaluations on dev: a run of the longest settings makes fewer"
    )
    import_path: list[str] = Field(
        default_factory=list,
        description="The run's sys.path, where metrics and engines of other packages are found",
    )


class GraderRequest(_Line):
    """An action. Of the fields after it only what the action needs is read."""

    number: int = Field(ge=1)
    action: Action
    adapter: Path | None = Field(default=None, description="Adapter directory; None is the base model")
    split: str = "search"
    limit: int | None = Field(default=None, ge=1)
    scoring: Scoring = "auto"
    dataset: Path | None = Field(default=None, description="Directory that holds train.jsonl")
    replies: list[JudgeReply] | None = Field(
        default=None, description="Of the judge, one for each question; None: it could not be asked"
    )


class Freeze(_Line):
    """frozen.json: the winner that the test split will score, named before the split is opened."""

    winner: str | None = Field(description="Absolute path of the adapter; None means the base model won")
    winner_hash: str
    baseline_hash: str
    test_hash: str
    grader_hash: str
    key: str = Field(description="Hash of the four above: one key, one opening of the test split")


class GraderResponse(_Line):
    """The answer to the request of that number (0 answers `GraderSetup`): an error, or what the action returns."""

    number: int = Field(ge=0)
    error: str | None = None
    error_kind: ErrorKind = "TrexError"
    evaluation: Evaluation | None = None
    baseline: Evaluation | None = None
    contamination: ContaminationReport | None = None
    freeze: Freeze | None = None
    regression_checks: list[RegressionCheck] | None = None
    questions: list[JudgeQuestion] | None = Field(
        default=None, description="For the judge; the answer to the request follows after its replies"
    )
    allowed: int = Field(default=0, ge=0, description="Questions that may stay without a verdict")
