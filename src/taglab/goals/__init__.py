"""Goals: bounds that the metrics of a lab's runs must meet."""

from typing import TYPE_CHECKING

from taglab.lazy import attributes

if TYPE_CHECKING:
    from taglab.goals.judge import Goal, GoalsError, Verdict, read_goals, verdicts

__all__ = ["Goal", "GoalsError", "Verdict", "read_goals", "verdicts"]

__getattr__ = attributes(__name__, {"judge": __all__})
