"""What the detectors and the naming of heads can be told, with the values that are used by default.

Nothing here imports torch: a config section can fill these.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DetectorSettings:
    """Settings of the detectors.

    Attributes:
        max_offset: largest distance between query and key of a positional head, in tokens.
        shifts: the mismatch null gives each pattern the masks of the sequences that lie so many
            places on, cyclically. Symmetric, so that each pair of sequences counts both ways.
        min_words: fewest single-token words of an ordinal class.
        min_names: fewest single-token names.
        min_templates: fewest IOI sentences.
        min_random: fewest distinct tokens that repeats can be drawn from.

    Raises ValueError for impossible values.
    """

    max_offset: int = 16
    shifts: tuple[int, ...] = (-4, -3, -2, -1, 1, 2, 3, 4)
    min_words: int = 5
    min_names: int = 8
    min_templates: int = 3
    min_random: int = 8

    def __post_init__(self) -> None:
        if not self.shifts or 0 in self.shifts or {-s for s in self.shifts} != set(self.shifts):
            raise ValueError(
                f"shifts {self.shifts}: need shifts other than 0, each with its negative"
            )
        if self.max_offset < 1:
            raise ValueError(f"max_offset {self.max_offset} is below 1")


@dataclass(frozen=True)
class NamingSettings:
    """When a head is named: q below `max_q`, and the lower end of the score above a least one.

    Attributes:
        max_q: bound of the false discovery rate (Benjamini and Hochberg 1995), exclusive.
        min_content: least score of a detector whose targets depend on the tokens.
        min_positional: least score of a detector whose targets depend on the position alone.
        min_rows: a class of query tokens with fewer rows has no score.
        max_flips: most random sign flips of a test. With too few of them, one head alone could not
            reach `max_q`.

    Raises ValueError for impossible values.
    """

    max_q: float = 0.05
    min_content: float = 0.1
    min_positional: float = 0.3
    min_rows: int = 20
    max_flips: int = 100_000

    def __post_init__(self) -> None:
        if not 0 < self.max_q < 1:
            raise ValueError(f"max_q {self.max_q} is not between 0 and 1")
        if self.max_flips < 1000:
            raise ValueError(f"max_flips {self.max_flips} is below 1000")
