"""GTA: does a model call the right tool with the right arguments, and give the right answer from the tools' results?

    `tool_use`   the metric: figures, values and sums of counts
    `tallies`    what one query or one step adds to the counts, officially and corrected
    `rows`       published rows, and our rows of one step, as gold steps
    `react`      a reply in the ReAct format as a step, by lagent's rules and by tolerant ones
    `arguments`  a call's arguments: reading and comparing them
    `answers`    final answers against aliases or reference texts

Wang et al., "GTA: A Benchmark for General Tool Agents", NeurIPS 2024, arXiv 2407.08713;
https://github.com/open-compass/GTA at 37c2b60.
"""

from .tool_use import SUBTASKS, ToolUseMetric

__all__ = ["SUBTASKS", "ToolUseMetric"]
