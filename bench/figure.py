"""One measured figure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """``value`` in ``unit``; ``goal`` as a reader wants to see it, ``met`` None where there is none."""

    name: str
    value: float
    unit: str
    goal: str = ""
    met: bool | None = None
    note: str = ""


def at_most(name: str, value: float, unit: str, limit: float, note: str = "") -> Figure:
    """A figure that should not exceed ``limit``."""
    return Figure(name, value, unit, f"<= {limit:g} {unit}", value <= limit, note)


def at_least(name: str, value: float, unit: str, limit: float, note: str = "") -> Figure:
    """A figure that should reach ``limit``."""
    return Figure(name, value, unit, f">= {limit:g} {unit}", value >= limit, note)
