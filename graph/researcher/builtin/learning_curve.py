"""What a training loss says: whether it was still falling, had settled, diverged, or cannot be read."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

STILL_FALLING = 0.1
"""A loss that drops by this share from the second to the last third of its steps is still falling."""

NEAR_ZERO = 0.05
"""Mean loss, in nats a token, below which a fall has no meaning: there is nothing left to fit."""

DIVERGED = 1.5
"""A loss whose last third is this many times its lowest third may have diverged."""

LOST = 0.5
"""A diverged loss has lost at least this share of what it had fallen."""

Shape = Literal["falling", "settled", "diverged", "near zero", "unclear", "too short"]


@dataclass(frozen=True)
class CurveReading:
    """The shape of a training loss, and its mean over each third of the logged steps."""

    shape: Shape
    thirds: tuple[float, float, float] = (0.0, 0.0, 0.0)


def read_curve(curve: Sequence[tuple[int, float]]) -> CurveReading:
    """The shape of a learning curve of (step, loss); it needs at least six points.

    A fall or a rise counts if it exceeds two standard errors of the difference of two thirds. "settled" needs that a
    fall of twice `STILL_FALLING` can be excluded; otherwise the curve is "unclear".
    """
    losses = [loss for _, loss in sorted(curve)]
    if not all(math.isfinite(loss) for loss in losses):
        return CurveReading("diverged")
    size = len(losses) // 3
    if size < 2:
        return CurveReading("too short")
    parts = losses[:size], losses[size : 2 * size], losses[2 * size :]
    first, middle, last = (statistics.fmean(part) for part in parts)
    thirds = (first, middle, last)
    noise = point_noise(losses) * math.sqrt(1 / len(parts[1]) + 1 / len(parts[2]))
    lowest = min(first, middle)
    rise, fall = last - lowest, middle - last
    if last > DIVERGED * lowest and rise > max(2 * noise, LOST * (first - lowest)):
        return CurveReading("diverged", thirds)
    if last < NEAR_ZERO:
        return CurveReading("near zero", thirds)
    if fall > max(STILL_FALLING * middle, 2 * noise):
        return CurveReading("falling", thirds)
    settled = abs(fall) + 2 * noise < 2 * STILL_FALLING * middle
    return CurveReading("settled" if settled else "unclear", thirds)


def point_noise(losses: Sequence[float]) -> float:
    """The standard deviation of single points around a smooth curve.

    From the distance of each point to the mean of its neighbours, which a trend does not change (Gasser, Sroka and
    Jennen-Steinmetz 1986, Biometrika 73:625); by their median, which jumps do not change (Rousseeuw and Croux 1993,
    JASA 88:1273).
    """
    triples = zip(losses, losses[1:], losses[2:], strict=False)
    distances = [abs((before + after) / 2 - here) for before, here, after in triples]
    return statistics.median(distances) / (0.6745 * math.sqrt(1.5))


def curve_line(step: int, reading: CurveReading) -> str:
    """The reading of the best trial's curve as an insight; empty if it is too short to be read."""
    first, middle, last = reading.thirds
    numbers = f"mean loss by thirds {first:.3f}, {middle:.3f}, {last:.3f}"
    return {
        "falling": f"the best trial's loss was still falling at step {step} ({numbers}): under-fitting",
        "diverged": f"the best trial's loss diverged by step {step} ({numbers})",
        "settled": f"the best trial's loss had settled by step {step} ({numbers})",
        "near zero": f"the best trial's loss is near zero at step {step} ({numbers}): its rows are learnt",
        "unclear": f"the best trial's loss varies too much to be read at step {step} ({numbers})",
        "too short": "",
    }[reading.shape]
