"""What an operator is: one step of a data recipe. An operator is one class in one file.

Operators are deterministic. Those that choose rows choose by a hash of the rows' content, so that the chosen set
does not depend on the order of a file.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict

from ..row_table import RESERVED, Scalar

if TYPE_CHECKING:
    from datasets import Dataset

    from ....evaluation.task import Task
    from ..models.model_access import ModelAccess
    from ..models.text_model import ModelChoice

Kind = Literal["row-wise", "selects", "orders", "expands", "combines"]
"""What an operator does to rows.

`row-wise`: each row that is left is made from one row, whatever the others are. `selects`: keeps some of the rows
as they are. `orders`: keeps all rows in another order. `expands`: may make more rows than it gets. `combines`:
makes a row from several rows.
"""

Fault = Literal["column missing", "label missing", "value missing", "answer empty", "rows repeated"]
"""A fault of a data set that a step can correct."""


def _column_name(name: str) -> str:
    if not name or name.startswith(RESERVED):
        raise ValueError(f"a column name must not be empty or begin with {RESERVED!r}, got {name!r}")
    return name


Column = Annotated[str, AfterValidator(_column_name)]


class Shares(Protocol):
    """How the values of a numeric column are distributed."""

    def share(self, low: float = ..., high: float = ...) -> float:
        """The share of rows with values in [low, high]."""


class SourceFacts(Protocol):
    """What is known of a source before a recipe is carried out."""

    @property
    def rows(self) -> int:
        """Rows of the source."""

    @property
    def distinct(self) -> int:
        """Rows left when repeated examples count once."""

    @property
    def labels(self) -> Mapping[str, int]:
        """Rows by answer; empty if answers are many or unknown."""

    @property
    def rating(self) -> Shares | None:
        """Of the task's rating column."""

    @property
    def words(self) -> Shares | None:
        """Of the number of words in `text_column`."""

    @property
    def text_column(self) -> str | None:
        """The longest text column."""


@dataclass(frozen=True)
class Flow:
    """Rows on their way through a recipe, as they are expected."""

    rows: float
    distinct: float
    """Rows left when repeated examples count once."""
    answers: tuple[float, ...] = (0.5, 0.5)
    """The share of rows of each answer."""
    source: SourceFacts | None = None
    """The source the rows come from; None when they come from several."""

    def keeping(self, share: float) -> Flow:
        """The flow with this share of its rows, chosen independently of everything else."""
        return replace(self, rows=self.rows * share, distinct=self.distinct * share)


class DroppedRows:
    """Rows that a step drops, counted by reason, with the first example of each."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def add(self, reason: str, example: str = "", rows: int = 1) -> None:
        """Count rows that are dropped for one reason."""
        self.rows[reason] += rows
        self.examples.setdefault(reason, example)


@dataclass(frozen=True)
class OperatorContext:
    """What an operator may use besides its settings and the rows.

    Everything here must be part of the data set's fingerprint (`build.recipe_fingerprint`).
    """

    scope: Literal["stream", "mix"]
    """Whether the step belongs to one stream or to the mix. It salts the hashes of operators that choose rows: were
    both sampled by one hash, a mix of a sampled and a whole stream would, sampled again, favour the first."""
    dropped: DroppedRows = field(default_factory=DroppedRows)
    """An operator that drops rows for several reasons counts them here."""
    notes: list[str] = field(default_factory=list)
    """What else the report says of the step."""
    task: Task | None = None
    models: ModelAccess | None = None
    """Models that make or score rows; None where none may be used."""
    allow_python: bool = False
    """Whether code in Python may be run, in a sandbox."""

    @property
    def trial(self) -> bool:
        """Whether a step that uses a model sees a few rows only, for a preview."""
        return self.models is not None and self.models.trial_rows is not None


class Operator(BaseModel):
    """One step of a recipe. A subclass has its settings as fields, each with a description, and `op`, its name:

    op: Literal["first"] = "first"

    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    op: str

    examples: ClassVar[tuple[Mapping[str, Any], ...]]
    """Valid settings for rows with the columns `text`, `rating` (a number or None), `label`, `parts` (a list of texts)
    and `messages` (a conversation of two exchanges). The conformance tests run them."""
    kind: ClassVar[Kind]
    position: ClassVar[int] = 20
    """Where the step usually stands: a step that is added goes before the first one of a higher position."""
    cleaning: ClassVar[str] = ""
    """How a step that only cleans or orders rows is described, e.g. 'filter by words'; '' if there is none."""
    relax_order: ClassVar[int | None] = None
    """When a recipe leaves no rows, the step of the lowest number is relaxed first; None: it never is."""
    needs_permission: ClassVar[bool] = False
    """Whether it runs only where `allow_python` is given; elsewhere agents are not told of it."""
    removes_duplicates: ClassVar[bool] = False
    """Whether the rows it drops count as duplicates in the report."""
    remedies: ClassVar[Mapping[Fault, str]] = {}
    """What to do with this operator against a fault; may name {column} and {rating}."""

    @abstractmethod
    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        """The rows after this step. Raises PlanError if the step does not fit the rows."""

    def constants(self) -> Mapping[str, tuple[Scalar, ...]]:
        """By column, the values that the step writes whatever the row holds."""
        return {}

    def dependencies(self) -> Iterable[str]:
        """Hashes of what determines the step's result besides its settings and its own source file."""
        return ()

    def model_choice(self) -> ModelChoice | None:
        """The model that the step uses; None if it uses none."""
        return None

    def estimate(self, flow: Flow) -> Flow:
        """What is expected to be left of a flow of rows. By default all of it."""
        return flow

    def relaxed(self) -> Operator | None:
        """A less selective step to put in its place; None to leave it out; itself if nothing can be relaxed."""
        return None

    def cleans(self) -> bool:
        """Whether this step only cleans or orders rows, so that adding it does not change what a plan tests."""
        return bool(self.cleaning)

    def replaces(self, other: Operator) -> bool:
        """Whether this step takes the place of the other one when it is added to the same steps."""
        return type(self) is type(other)
