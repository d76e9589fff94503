"""When the phases of a generated study are acquired."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PhaseTimes:
    """Phase 0 is before the injection; all moments are seconds since the study began."""

    posts: int = 5
    """Phases after the injection."""
    begun_s: float = 600.0
    """When the first phase begins."""
    phase_s: float = 90.0
    """How long one phase takes; the posts follow one another at once."""
    pause_s: float = 25.0
    """From the end of the phase before the injection to the injection."""
    delay_s: float = 20.0
    """From the injection to the first phase after it."""

    @property
    def phases(self) -> int:
        """How many there are, with the one before the injection."""
        return 1 + self.posts

    @property
    def injected_s(self) -> float:
        """When the contrast agent is given."""
        return self.begun_s + self.phase_s + self.pause_s

    def begin_s(self, phase: int) -> float:
        """Return when a phase begins."""
        if phase == 0:
            return self.begun_s
        return self.injected_s + self.delay_s + (phase - 1) * self.phase_s

    def middle_s(self, phase: int) -> float:
        """Return the middle of a phase in seconds after the injection; before it below 0."""
        return self.begin_s(phase) + self.phase_s / 2 - self.injected_s
