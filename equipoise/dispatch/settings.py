"""How a dispatcher goes about its work; one frozen object per request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The defaults suit boards that need 1 ms to 1 s per item.

    `pooled` is work stealing: whoever is idle takes from one pool per variant, whichever processor the plan
    named. `replan` re-plans on drift; without it only a loss, a return or a failure asks for a new plan.
    """

    pooled: bool = False
    replan: bool = True
    duplicate_stragglers: bool = True
    window_tasks: int = 2  # one computes while the next one travels; more where a link's latency outlasts a task
    tasks_per_share: int = 16  # guided self-scheduling: a task is this part of what is left
    min_task_s: float = 0.03  # the cost per task, about 1 ms, disappears in it
    max_task_s: float = 0.5  # bounds what a loss costs and how long feedback takes
    max_task_bytes: int = 8_000_000
    drift: float = 0.03  # of the seconds left: a finish that moves by more has the rest planned again
    speed_drift: float = 0.05  # of a speed: with a budget of energy, that too has the rest planned again
    min_drift_s: float = 0.01
    reserve_s: float = 0.04  # kept back when the rest is planned: answers come in lumps and predictions scatter
    reserve: float = 0.02  # of the deadline; the reserve is never more than this
    energy_reserve: float = 0.02  # of what is left of a budget
    ask_again_s: float = 1.0  # after asking for a plan in vain
    plan_pause_s: float = 0.0005  # per processor, before drift has the rest planned again: planning takes 0.0001
    look_pause_s: float = 0.00001  # per processor, before stragglers are looked for again: a look takes as long
    belief_margin_s: float = 1.0  # later than any belief in its speed allows, plus this: the processor is suspected
    belief_margin: float = 0.05  # of the seconds left; the margin is no more than this
    least_belief_margin_s: float = 0.2  # but no less than this: hosts and networks have hiccups
    patience_s: float = 10.0  # how long to wait for a return when no processor is left
    max_failures: int = 3  # in a row, of a processor with a variant; and of an item that was sent alone

    def __post_init__(self) -> None:
        for name in ("window_tasks", "tasks_per_share", "max_task_bytes", "max_failures"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in (
            "min_task_s",
            "max_task_s",
            "drift",
            "speed_drift",
            "min_drift_s",
            "plan_pause_s",
            "look_pause_s",
            "reserve_s",
            "reserve",
            "energy_reserve",
            "belief_margin_s",
            "belief_margin",
            "least_belief_margin_s",
            "patience_s",
        ):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not self.ask_again_s > 0:
            raise ValueError(f"ask_again_s must be positive, not {self.ask_again_s}")

    def reserve_before_s(self, deadline_s: float) -> float:
        """Seconds kept back before a deadline that was this far away when the request began."""
        return min(self.reserve_s, self.reserve * deadline_s)

    def belief_margin_at_s(self, left_s: float) -> float:
        """What an answer is forgiven beyond what any speed explains, so many seconds before the end.

        Close to the end there is less time to make up for a processor that is waited for in vain.
        """
        return min(self.belief_margin_s, max(self.least_belief_margin_s, self.belief_margin * left_s))
