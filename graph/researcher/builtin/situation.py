"""The starting point of a plan: the configuration to refine, its symptoms, and the configurations tried before."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from ....evaluation.task import Task
from ....files import fingerprint
from ....training.data.expected_rows import expected_rows
from ....training.data.recipe import DataRecipe
from ....training.methods.protocol import MAIN
from ....training.methods.sft import SftStage
from ....training.plan import TrainingPlan
from ....training.weights.lora import LoraWeights
from ...tree.experiment import Experiment, Symptom, TrialRecord
from ...tree.tree import Tree
from ..protocol import PlanningRequest, ResearchNotes
from . import first_plan

MAX_PASSES = 10.0
"""Upper limit on epochs."""

SYMPTOM_PHRASES: dict[Symptom, str] = {
    "under_fitting": "under-fitting (its loss was still falling)",
    "over_fitting": "over-fitting",
    "divergence": "a diverging loss",
    "label_bias": "a bias towards one answer",
    "long_inputs": "failures on long inputs",
    "short_inputs": "failures on short inputs",
    "format_errors": "answers in a wrong format",
    "mode_collapse": "repeated identical answers",
    "too_little_data": "too little data",
}
"""The text for each symptom in a hypothesis."""


def recipe_key(recipe: DataRecipe) -> str:
    """A key that is equal for recipes that give the same rows: weights count relative to their sum."""
    total = sum(stream.weight for stream in recipe.streams)
    shares = [round(stream.weight / total, 3) for stream in recipe.streams]
    return fingerprint([recipe.model_dump(mode="json", exclude={"streams": {"__all__": {"weight"}}}), shares])


def sft_stage(training: TrainingPlan) -> SftStage:
    """The SFT stage of a plan. Raises TypeError for another method."""
    if not isinstance(training.stage, SftStage):
        raise TypeError(f"the built-in policy varies stages of method sft, not {training.stage.method}")
    return training.stage


def lora_weights(training: TrainingPlan) -> LoraWeights:
    """The LoRA weights of a plan. Raises TypeError for another kind."""
    if not isinstance(training.weights, LoraWeights):
        raise TypeError(f"the built-in policy varies weights of kind lora, not {training.weights.kind}")
    return training.weights


def on_main(training: TrainingPlan) -> TrainingPlan:
    """The plan with its recipe renamed to 'main', so that plans compare without the name."""
    return training.with_stage(recipe=MAIN)


class History:
    """The configurations tried in a growing tree.

    Unchanged experiments are not read again: reading 300 takes 0.1 seconds, and a plan needs them several times.
    """

    def __init__(self) -> None:
        self._known: dict[str, Experiment] = {}
        self._tried: dict[str, dict[str, set[TrainingPlan]]] = defaultdict(lambda: defaultdict(set))

    def read(self, tree: Tree) -> None:
        """Read the experiments that are new or changed."""
        for experiment in tree:
            if self._known.get(experiment.id) is experiment:
                continue
            self._known[experiment.id] = experiment
            for nodes in self._tried.values():
                nodes.pop(experiment.id, None)
            for plan in filter(None, (experiment.plan, experiment.executed_plan)):
                keys = {name: recipe_key(recipe) for name, recipe in plan.recipes.items()}
                for training in experiment.trainings(plan):
                    self._tried[keys[training.stage.recipe]][experiment.id].add(on_main(training))

    def tried(self, tree: Tree, key: str, node: str) -> set[TrainingPlan]:
        """The training plans tried in `tree` on the recipe with that key, as planned and as repaired.

        Of those that continue from their parent's weights only those tried under `node`: elsewhere they are others.
        """
        known = self._tried.get(key, {}).items()
        return {
            plan
            for tried, plans in known
            if tried in tree
            for plan in plans
            if plan.start == "base" or tree[tried].parent_id == node
        }


@dataclass(frozen=True)
class Situation:
    """The parent's best configuration, its symptoms, and all configurations of the tree."""

    task: Task
    notes: ResearchNotes
    tree: Tree
    node: Experiment
    recipe: DataRecipe
    training: TrainingPlan
    rows: int
    """Rows of the recipe: counted if it was built, else estimated."""
    history: History
    trials: int
    trial_examples: int
    symptoms: frozenset[Symptom] = frozenset()
    records: tuple[TrialRecord, ...] = ()
    """The scored trials of the experiment that the configuration comes from."""
    hint: str = ""
    continues: bool = False
    """Whether a plan with `start: parent` continues from the weights of this configuration."""
    untouched: bool = False
    """Whether the tree holds only the baseline."""

    @classmethod
    def of(cls, request: PlanningRequest, history: History) -> Situation:
        """The situation of a request.

        It starts from the nearest node on the path to the root that has a trained trial, else from the first plan.
        """
        tree, node = request.context.tree, request.context.node
        source = next((e for e in reversed(tree.path(node.id)) if _best(e) is not None), None)
        rows, records, continues = 0, tuple[TrialRecord, ...](), False
        history.read(tree)
        if source is None or source.tried_plan is None:
            recipe = first_plan.recipe(request.task, request.notes, request.trial_examples)
            training = first_plan.training(request.task, request.trial_examples)
        else:
            best = _best(source)
            assert best is not None
            recipe, training = source.tried_plan.recipe_of(best.training), on_main(best.training)
            continues = tree.trained(node.id) is source
            if not continues:
                training = training.model_copy(update={"start": "base"})
            records = tuple(t for t in source.trials if t.evaluation is not None and _can_vary(t.training))
            rows = source.datasets[best.recipe].rows if best.recipe in source.datasets else 0
        return cls(
            task=request.task,
            notes=request.notes,
            tree=tree,
            node=node,
            recipe=recipe,
            training=training,
            rows=rows or recipe.rows or max(1, expected_rows(recipe, request.notes)),
            history=history,
            trials=request.trials,
            trial_examples=request.trial_examples,
            symptoms=_symptoms(request),
            records=records,
            hint=request.hint,
            continues=continues,
            untouched=not any(e.tried_plan is not None for e in tree),
        )

    @property
    def stage(self) -> SftStage:
        """The stage of the parent's best training plan."""
        return sft_stage(self.training)

    @property
    def weights(self) -> LoraWeights:
        """The weights of the parent's best training plan."""
        return lora_weights(self.training)

    def tried(self, key: str) -> set[TrainingPlan]:
        """The training plans tried on the recipe with that key (`recipe_key`)."""
        return self.history.tried(self.tree, key, self.node.id)

    @cached_property
    def supply(self) -> int:
        """Estimated rows of the recipe without its limit on rows."""
        return expected_rows(self.recipe.model_copy(update={"rows": None}), self.notes)

    @property
    def score(self) -> str:
        """The parent's score as text, the reference of a hypothesis. Under the root it is the first plan's."""
        to_beat = self.tree.first_plan if self.node.id == self.tree.root.id else None
        to_beat = to_beat or self.node
        return "its parent's" if to_beat.score is None else f"{to_beat.score.value:.3f}"

    def symptom_phrase(self, remedies: frozenset[Symptom]) -> str:
        """The start of a hypothesis: the parent's symptoms that these remedies treat, if any."""
        phrases = [SYMPTOM_PHRASES[symptom] for symptom in sorted(self.symptoms & remedies)]
        return f"The parent shows {' and '.join(phrases)}. " if phrases else ""

    def epochs(self, rows: int) -> float:
        """Epochs over that many rows that use all examples of a trial: rows × epochs stays within the limit."""
        return max(0.001, math.floor(min(MAX_PASSES, self.trial_examples / rows) * 1000) / 1000)

    def fitted(self, training: TrainingPlan, rows: int) -> TrainingPlan:
        """The training plan with epochs that use the examples of a trial."""
        return training.with_stage(epochs=self.epochs(rows), max_steps=None)

    @property
    def rate_direction(self) -> int:
        """Whether to raise (+1) or lower (−1) the learning rate; 0: unknown.

        From the user's hint, else from the symptoms, else from the best trial: +1 if it has the largest rate of its
        experiment, −1 if the smallest.
        """
        hint = self.hint.casefold()
        if any(word in hint for word in ("lower", "smaller", "reduce")):
            return -1
        if any(word in hint for word in ("higher", "larger", "raise")):
            return 1
        if self.symptoms & {"divergence", "over_fitting", "mode_collapse"}:
            return -1
        if "under_fitting" in self.symptoms:
            return 1
        rates = [sft_stage(trial.training).learning_rate for trial in self.records]
        best = max(self.records, key=lambda t: (t.rung, t.value or 0.0, -t.index), default=None)
        if best is None or len(set(rates)) < 2:
            return 0
        rate = sft_stage(best.training).learning_rate
        return (rate == max(rates)) - (rate == min(rates))


def _best(experiment: Experiment) -> TrialRecord | None:
    """The experiment's best trial, if this policy can vary its training plan."""
    best = experiment.best_record
    return best if experiment.tried_plan and best and _can_vary(best.training) else None


def _can_vary(training: TrainingPlan) -> bool:
    alone = len(training.stages) == 1 and isinstance(training.stage, SftStage)
    return alone and isinstance(training.weights, LoraWeights)


def _symptoms(request: PlanningRequest) -> frozenset[Symptom]:
    """The symptoms of the node and of its failed children, which still apply."""
    nodes = [request.context.node, *(child for child in request.context.children if child.status == "failed")]
    return frozenset(symptom for e in nodes if e.diagnosis is not None for symptom in e.diagnosis.symptoms)
