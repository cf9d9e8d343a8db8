"""Two things measured in turn, and the ratio between them round by round."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median


@dataclass
class Row:
    """One figure of both sides, a value a round; `at_least` or `at_most` bounds the ratio."""

    name: str
    at_least: float | None = None
    at_most: float | None = None
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Of values that were measured next to each other: the machine's speed drifts."""
        return [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    @property
    def holds(self) -> bool:
        ratio = median(self.ratios)
        low = self.at_least is None or ratio >= self.at_least
        return low and (self.at_most is None or ratio <= self.at_most)

    @property
    def verdict(self) -> str:
        if self.at_least is None and self.at_most is None:
            return ""
        bound = f">= {self.at_least}" if self.at_least is not None else f"<= {self.at_most}"
        return f"{bound:<7} {'ok' if self.holds else 'MISSED'}"


def table(rows: Iterable[Row], ours: str, theirs: str) -> str:
    """Medians of both sides, the median ratio with its smallest and largest, and its bound."""
    lines = [f"{'':38}{ours:>10}{theirs:>12}{'ratio':>8}{'min..max':>13}  bound"]
    for row in rows:
        ratios = row.ratios
        values = f"{median(row.ours):>10.4g}{median(row.theirs):>12.4g}{median(ratios):>8.2f}"
        spread = f"{min(ratios):.2f}..{max(ratios):.2f}"
        lines.append(f"{row.name:38}{values}{spread:>13}  {row.verdict}".rstrip())
    return "\n".join(lines)
