"""The computed diagnosis of an experiment: verdict on the hypothesis, symptoms, insights and claims."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from ....evaluation.metrics import metric
from ....evaluation.statistics.comparison import paired_gain
from ....training.methods.sft import SftStage
from ....training.plan import TrainingPlan
from ...tree.experiment import Claim, Diagnosis, Experiment, Symptom, TrialRecord
from ..protocol import Evidence
from .learning_curve import CurveReading, curve_line, read_curve

SIGNIFICANT = 0.05
OVERFIT_LOSS_RATIO = 0.8
"""A worse trial whose training loss is below this share of the best trial's has overfitted."""

FEW_UNIQUE = 0.5
FEW_VALID = 0.9
MANY_MALFORMED = 0.1
FEW_ROWS = 50

_NAMES = {"lr_scheduler_type": "schedule", "neftune_noise_alpha": "NEFTune"}
_UNREPORTED = {"alpha", "max_length", "max_steps"}
_LENGTH = {"epochs", "max_steps", "recipe"}


def _losses(trial: TrialRecord) -> Sequence[tuple[int, float]]:
    """The learning curve of a trial whose loss shows its progress: one stage, and not of rewards."""
    return [] if len(trial.training.stages) > 1 or "reward" in trial.figures else trial.curve


def read_outcome(evidence: Evidence) -> Diagnosis:
    """Verdict, causes, symptoms, insights and claims of an experiment, computed from its results."""
    experiment, verdict = evidence.experiment, verdict_only(evidence)
    best = _best(experiment)
    if best is None:
        return _failure(experiment, verdict)
    reading = read_curve(_losses(best))
    insights = (
        *evidence.degenerate,
        _contrast(experiment.trials),
        _data_effect(evidence, best),
        curve_line(best.step, reading),
        *_failed_trials(experiment.trials),
        _secondary_line(experiment, evidence.parent),
    )
    return verdict.model_copy(
        update={
            "causes": [group.cause for group in evidence.groups],
            "symptoms": _symptoms(evidence, best, reading),
            "insights": [line for line in insights if line],
            "claims": _claims(evidence, verdict),
        }
    )


def verdict_only(evidence: Evidence) -> Diagnosis:
    """Only the verdict that follows from the scores, without failure cases. For ablations."""
    experiment = evidence.experiment
    if _best(experiment) is None:
        return Diagnosis(verdict="failed", summary=f"Failed: {experiment.failure or 'no trial was scored'}")
    gain, p_value = _gain(evidence)
    verdict: Literal["supported", "refuted", "inconclusive"] = "inconclusive"
    if p_value is not None and p_value < SIGNIFICANT and gain != 0:
        verdict = "supported" if gain > 0 else "refuted"
    fixed, regressed = _changed_items(evidence)
    summary = _summary(evidence, gain, p_value)
    return Diagnosis(
        verdict=verdict, summary=summary, fixed=fixed, regressed=regressed, gain=gain, p_value=p_value
    )


def _changed_items(evidence: Evidence) -> tuple[int, int]:
    """How many items were fixed and how many regressed."""
    found = evidence.comparison
    return (len(found.fixed), len(found.regressed)) if found is not None else (0, 0)


def _best(experiment: Experiment) -> TrialRecord | None:
    return experiment.best_record if experiment.score is not None else None


def _claims(evidence: Evidence, computed: Diagnosis) -> list[Claim]:
    """What to expect of the direction after this verdict. Equal texts are merged into one insight.

    A gain over the untrained baseline is no evidence for a direction, nor is a gain within noise.
    """
    plan, parent = evidence.experiment.tried_plan, evidence.parent
    if plan is None or parent is None or parent.tried_plan is None:
        return []
    if computed.verdict == "supported":
        text = f"{plan.direction} improved the score beyond noise: further changes of this kind may help"
        return [Claim(text=text[-500:], direction=plan.direction, expects="gain")]
    if computed.verdict == "refuted":
        text = f"{plan.direction} lowered the score beyond noise: changes of this kind do not help"
        return [Claim(text=text[-500:], direction=plan.direction, expects="no_gain")]
    return []


def _failure(experiment: Experiment, verdict: Diagnosis) -> Diagnosis:
    reason = experiment.failure or "no trial was scored"
    symptoms: set[Symptom] = set()
    causes = Counter(trial.cause for trial in experiment.trials if trial.cause is not None)
    if "nan_loss" in causes:
        symptoms.add("divergence")
    if "empty" in causes or (experiment.dataset is None and "empty" in reason):
        symptoms.add("too_little_data")
    ended = [f"{count} of {len(experiment.trials)} trials: {cause}" for cause, count in causes.most_common()]
    direction = experiment.tried_plan.direction if experiment.tried_plan is not None else "?"
    return verdict.model_copy(
        update={
            "symptoms": sorted(symptoms),
            "insights": [f"an experiment in the direction {direction} failed: {reason}", *ended],
        }
    )


def _gain(evidence: Evidence) -> tuple[float, float | None]:
    """Gain over the parent and its p-value: paired if the items are known, else from the two scores.

    Scores of the same items are positively correlated, so the unpaired z-test is conservative.
    """
    comparison, score = evidence.comparison, evidence.experiment.score
    if comparison is not None and comparison.ids:
        gain = paired_gain(metric(evidence.task.metric), *comparison.measured)
        return gain.score.value, gain.p_value
    before = evidence.parent.score if evidence.parent is not None else None
    if before is None or score is None:
        return 0.0, None
    difference = score.value - before.value
    error = math.hypot(score.standard_error, before.standard_error)
    return difference, math.erfc(abs(difference) / error / math.sqrt(2)) if error else None


def _summary(evidence: Evidence, gain: float, p_value: float | None) -> str:
    score, parent = evidence.experiment.score, evidence.parent
    assert score is not None
    text = f"{score.name} {score.value:.3f} on {score.n} items"
    if parent is None or parent.score is None or p_value is None:
        return text
    noise = "beyond noise" if p_value < SIGNIFICANT else "within noise"
    text += f", {gain:+.3f} against {parent.id} (p = {p_value:.3g}, {noise})"
    if evidence.comparison is not None:
        text += "; {} items fixed, {} regressed".format(*_changed_items(evidence))
    return text


def _symptoms(evidence: Evidence, best: TrialRecord, reading: CurveReading) -> list[Symptom]:
    experiment, found = evidence.experiment, set[Symptom]()
    if reading.shape == "falling":
        found.add("under_fitting")
    if reading.shape == "diverged":
        found.add("divergence")
    if _overfits(experiment.trials, best) or fell_behind(best):
        found.add("over_fitting")
    if _one_sided(evidence):
        found.add("label_bias")
    for group in evidence.groups:
        if group.kind == "length" and group.cause.startswith(("long", "short")):
            found.add("long_inputs" if group.cause.startswith("long") else "short_inputs")
    malformed = sum(group.count for group in evidence.groups if group.kind in ("format", "refusal"))
    invalid = experiment.secondary.get("validity", 1) < FEW_VALID
    if invalid or (experiment.score is not None and malformed > MANY_MALFORMED * experiment.score.n):
        found.add("format_errors")
    if experiment.secondary.get("uniqueness", 1) < FEW_UNIQUE:
        found.add("mode_collapse")
    if experiment.dataset is not None and experiment.dataset.rows < FEW_ROWS:
        found.add("too_little_data")
    return sorted(found)


def fell_behind(trial: TrialRecord) -> bool:
    """Whether the score fell from an earlier rung to the last by over two standard errors without a diverging loss.

    The items of a rung are among those of the next, so treating the errors as independent is conservative.
    """
    if len(trial.scored) < 2 or read_curve(_losses(trial)).shape == "diverged":
        return False
    _, last, error = trial.scored[-1]
    return any(before - last > 2 * math.hypot(error, sd) for _, before, sd in trial.scored[:-1])


def _overfits(trials: Sequence[TrialRecord], best: TrialRecord) -> bool:
    """Whether a trial with several epochs has a much lower loss than the best trial and a lower score, beyond noise."""
    if best.evaluation is None or best.train_loss is None:
        return False
    for trial in trials:
        if trial.rung != best.rung or trial.train_loss is None or trial.evaluation is None:
            continue
        lost = best.evaluation.score.value - trial.evaluation.score.value
        stage = trial.training.stage
        several = isinstance(stage, SftStage) and stage.epochs > 1
        fits_better = trial.train_loss < OVERFIT_LOSS_RATIO * best.train_loss
        if several and fits_better and lost > best.evaluation.score.standard_error:
            return True
    return False


def _one_sided(evidence: Evidence) -> bool:
    """Whether one confusion is more frequent than its opposite beyond chance (two standard errors of a fair coin)."""
    confusions = Counter((case.reference.strip(), case.prediction.strip()) for case in evidence.failures)
    choices = set(evidence.task.choices or ())
    return any(
        count - confusions[answer, truth] > 2 * math.sqrt(count + confusions[answer, truth])
        for (truth, answer), count in confusions.items()
        if {truth, answer} <= choices
    )


def _contrast(trials: Sequence[TrialRecord]) -> str:
    """The best and the worst trial of the same rung, and the settings in which they differ."""
    scored = [t for t in trials if t.value is not None]
    pairs = []
    for rung in {t.rung for t in scored}:
        same = sorted((t for t in scored if t.rung == rung), key=lambda t: (-(t.value or 0.0), t.index))
        if len(same) > 1:
            pairs.append((same[0], same[-1]))
    if not pairs:
        return ""
    better, worse = max(pairs, key=lambda pair: ((pair[0].value or 0) - (pair[1].value or 0), pair[0].rung))
    if better.evaluation is None or worse.evaluation is None:
        return ""
    gap = better.evaluation.score.value - worse.evaluation.score.value
    noise = math.hypot(better.evaluation.score.standard_error, worse.evaluation.score.standard_error)
    if gap == 0:
        return f"{len(scored)} trials, no difference between {_difference(better.training, worse.training)}"
    text = f"{_difference(better.training, worse.training)}: {gap:+.3f} for the first"
    return text + ("" if gap > 1.96 * noise else ", within noise")


def _difference(one: TrainingPlan, other: TrainingPlan) -> str:
    """'learning rate 0.002 against 0.0005'."""
    first, second = _settings(one), _settings(other)
    parts = [
        f"{_NAMES.get(name, name.replace('_', ' '))} {_brief(value)} against {_brief(second.get(name))}"
        for name, value in first.items()
        if value != second.get(name)
    ]
    return ", ".join(parts) or "equal plans"


def _settings(training: TrainingPlan) -> dict[str, object]:
    return training.stage.model_dump(exclude=_UNREPORTED) | training.weights.model_dump(exclude=_UNREPORTED)


def _brief(value: object) -> str:
    if isinstance(value, tuple):
        return "+".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)


def _data_effect(evidence: Evidence, best: TrialRecord) -> str:
    """The score of the parent's training plan on the new data, if that trial reached the best trial's rung."""
    parent, experiment = evidence.parent, evidence.experiment
    if parent is None or parent.score is None or parent.tried_plan is None or experiment.tried_plan is None:
        return ""
    if parent.best_record is None:
        return ""
    before = parent.best_record.training
    recipe = parent.tried_plan.recipe_of(before)
    for trial in experiment.trials:
        if trial.value is not None and trial.rung == best.rung:
            is_new = experiment.tried_plan.recipe_of(trial.training) != recipe
            if is_new and _same_but_for_length(trial.training, before):
                scores = f"{trial.value:.3f} after {parent.score.value:.3f}"
                return f"the parent's training plan on the new data: {scores}"
    return ""


def _same_but_for_length(one: TrainingPlan, other: TrainingPlan) -> bool:
    first, second = (plan.stage.model_dump(exclude=_LENGTH) for plan in (one, other))
    return one.weights == other.weights and first == second


def _failed_trials(trials: Sequence[TrialRecord]) -> list[str]:
    lines = []
    for trial in trials:
        if trial.status == "failed":
            reason = trial.cause or trial.message or "no cause"
            lines.append(f"trial {trial.index + 1} ({trial.note}) failed: {reason}")
        elif read_curve(_losses(trial)).shape == "diverged":
            lines.append(f"trial {trial.index + 1} ({trial.note}) diverged")
    return lines


def _secondary_line(experiment: Experiment, parent: Experiment | None) -> str:
    """The secondary figures that changed, with their values in the parent."""
    before = parent.secondary if parent is not None else {}
    return ", ".join(
        f"{name} {value:.2f}" + (f" (was {before[name]:.2f})" if name in before else "")
        for name, value in sorted(experiment.secondary.items())
        if abs(value - before.get(name, 0.0)) >= 0.005
    )
