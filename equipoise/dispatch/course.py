"""Which plan is being followed, and whether it is time to ask for another."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from equipoise.core.cluster import ProcessorId
from equipoise.core.plan import HurriedPlan, Plan
from equipoise.core.request import Prefer, Request, Requirement, WhenLate
from equipoise.dispatch.lane import Lane, Quota
from equipoise.dispatch.quotas import Sent, assign_quotas
from equipoise.dispatch.rest import Concession, Rest
from equipoise.dispatch.settings import Settings

_NOTHING = 1e-9  # accuracies that differ by less are equal


class Course:
    """Right whether the answer to a question comes at once, late, out of date or never."""

    def __init__(
        self,
        lanes: Mapping[ProcessorId, Lane],
        requirement: Requirement,
        settings: Settings,
        accuracies: Mapping[str, float],
    ) -> None:
        self.replanned = 0
        self.planned_end_s = 0.0
        self.concession = Concession.NOTHING
        self._lanes = lanes
        self._when_late = requirement.when_late
        self._has_budget = requirement.max_energy_j is not None
        self._settings = settings
        self._accuracies = accuracies  # of each variant
        self._wanted = self._planned = False
        self._asked: Rest | None = None
        self._not_before_s = -math.inf  # the next time to ask; also when an answer counts as lost
        self._pause_s = settings.plan_pause_s * len(lanes)  # of thousands of processors one always drifts
        self._sent: Sent = Counter()  # since the plan was asked for
        self._review_s = math.inf  # when a plan that hurries has done so for long enough

    def want_now(self) -> None:
        """What a plan rests on has changed: processors, or items that nobody will be sent."""
        self._wanted = True
        if self._asked is None:
            self._not_before_s = -math.inf

    def want_if_drifted(self, lane: Lane, now_s: float) -> None:
        """A processor has answered, or ought to have; a new plan is wanted if its predicted finish has moved too far.

        Plans that differ by less would only exchange one prediction error for another. Who is later than planned
        but no later than the others holds up nobody.
        """
        settings = self._settings
        if not settings.replan or settings.pooled:
            return
        tolerance_s = max(settings.min_drift_s, settings.drift * (self.planned_end_s - now_s))
        finish_s = lane.finish_s(now_s)
        late_s, early_s = finish_s - self.planned_end_s, lane.planned_finish_s - finish_s
        self._wanted |= max(late_s, early_s) > tolerance_s
        if self._has_budget:  # who is slower costs more, even if it ends in time
            self._wanted |= abs(lane.speed / lane.planned_speed - 1) > settings.speed_drift

    def is_due(self, open_items: int, now_s: float) -> bool:
        """True if it is time to ask for a plan of the open items."""
        if self._asked is not None and now_s >= self._not_before_s:
            self._asked, self._wanted = None, True  # the answer got lost
        self._wanted = (self._wanted or now_s >= self._review_s) and open_items > 0
        able = any(lane.usable for lane in self._lanes.values())
        return self._wanted and self._asked is None and able and now_s >= self._not_before_s

    def ask(self, rest: Rest, wanted: Requirement, now_s: float) -> Request:
        """What to ask for; the answer is expected from now on."""
        if rest.left_s <= 0:
            self.concession = self.concession.next(self._when_late)
        self._wanted, self._asked, self._review_s = False, rest, math.inf
        self._not_before_s = now_s + self._settings.ask_again_s
        self._sent.clear()
        return rest.request(wanted, self.concession)

    def answer(self, plan: Plan, open_items: int, now_s: float) -> bool:
        """Follow the plan that was asked for, or stay if that is better; false if there is nothing new to follow."""
        asked, self._asked = self._asked, None
        if asked is None:
            return False
        if plan.feasible:
            self.concession = asked.regained(plan, self.concession)
        if self._stays(plan, asked, open_items, now_s):
            self._not_before_s = now_s + self._pause_s
            self._set_marks(now_s)
            return False
        return self.follow(plan, open_items, now_s)

    def _stays(self, plan: Plan, asked: Rest, open_items: int, now_s: float) -> bool:
        """True if going on as before keeps what is owed, and the new plan is no better.

        A planner in a hurry may find less than it found when it had time. Energy still to be spent is not known
        here: then the plan is followed.
        """
        if isinstance(plan, HurriedPlan) or asked.energy_j is not None:
            return False  # what going on would cost is not known here
        quotas = [(lane, quota) for lane in self._lanes.values() for quota in lane.quotas]
        whole = all(lane.usable for lane, _ in quotas) and sum(quota.items for _, quota in quotas) == open_items
        if self._settings.pooled or plan.prefer is Prefer.ENERGY or not (whole and open_items):
            return False
        finish_s = max(lane.finish_s(now_s) for lane in self._lanes.values()) - now_s
        accuracy = sum(quota.items * self._accuracies[quota.variant] for _, quota in quotas) / open_items
        if finish_s > asked.left_s or accuracy < asked.accuracy:
            return False
        gained = plan.accuracy - accuracy if plan.prefer is Prefer.ACCURACY else 0.0
        better = gained > _NOTHING or (gained > -_NOTHING and plan.latency_s < finish_s)
        return not (plan.feasible and better)

    def _set_marks(self, now_s: float) -> None:
        """From now on drift is measured against the present prediction."""
        for lane in self._lanes.values():
            lane.planned_finish_s = lane.finish_s(now_s)
            lane.planned_speed = lane.speed
        self.planned_end_s = max(lane.planned_finish_s for lane in self._lanes.values())

    def follow(self, plan: Plan, open_items: int, now_s: float) -> bool:
        """Share out the open items as the plan says; false if none of its processors can run anything now."""
        if not plan.feasible:
            self.concession = self.concession.next(self._when_late)
        shares = self._chosen(plan).shares
        if not assign_quotas(shares, self._lanes, self._sent, open_items, pooled=self._settings.pooled):
            self._wanted = open_items > 0
            return False
        self._not_before_s = now_s + self._pause_s
        self.replanned += self._planned
        self._planned = True
        self._review_s = now_s + plan.for_s if isinstance(plan, HurriedPlan) else math.inf
        self._set_marks(now_s)
        return True

    def _chosen(self, plan: Plan) -> Plan:
        """Of an infeasible plan and those closest to it, the one that the policy wants."""
        stops = self._when_late is WhenLate.STOP
        return plan.to_follow(WhenLate.KEEP_FLOOR if stops else self._when_late) or plan

    def sent(self, lane: Lane, quota: Quota, items: int) -> None:
        """So many items of a quota are on their way."""
        quota.items -= items
        self._sent[lane.pid, quota.variant] += items

    def next_s(self, now_s: float) -> float:
        """When to ask (again); inf if no plan is missing, or only an event can make asking useful."""
        waiting = (self._wanted or self._asked is not None) and self._not_before_s > now_s
        return min(self._not_before_s if waiting else math.inf, self._review_s)
