import math

import pytest

from casc_det.neurons.schedule import SCHEDULES, WAITING, constant, wsc


def test_wsc_is_awake_for_levels_steps():
    plan = wsc(4)
    assert [plan.awake(t) for t in range(1, 8)] == [True] * 4 + [False] * 3
    assert [plan.injected(t) for t in range(1, 8)] == [1, 2, 3, 4, 4, 4, 4]
    assert plan.count_limit == 4


def test_constant_is_awake_for_ever_and_unlimited():
    plan = constant(4)
    assert all(plan.awake(t) and plan.injected(t) == t for t in (1, 4, 5, 1000))
    assert plan.count_limit is None


@pytest.mark.parametrize(("levels", "burst"), [(4, 1), (16, 4), (16, 3), (16, 16), (5, 4), (1, 1)])
def test_bursts_inject_several_levels_a_step_and_q_in_all(levels, burst):
    plan = wsc(levels, burst=burst)
    assert plan.wake == math.ceil(levels / burst) and plan.count_limit == levels
    shares = [plan.injected(t) - plan.injected(t - 1) for t in range(1, plan.wake + 3)]
    assert shares[: plan.wake - 1] == [burst] * (plan.wake - 1) and shares[plan.wake :] == [0, 0]
    assert 0 < shares[plan.wake - 1] <= burst and sum(shares) == levels == plan.injected(100)
    assert [constant(levels, burst=burst).injected(t) for t in (0, 1, 9)] == [0, burst, 9 * burst]


def test_the_ramp_rule_is_for_the_wake_steps_before_the_last():
    plan = wsc(16, burst=4, ramp=True)
    assert [plan.rule("cif", t, 0).ramp for t in (1, 2, 3, 4, 5)] == [4, 8, 12, None, None]
    assert {wsc(16, burst=4).rule("cif", t, 0).ramp for t in range(1, 6)} == {None}
    assert constant(16, ramp=True).rule("cif", 1, 0).ramp is None


def test_schedules_are_found_by_name():
    assert SCHEDULES["wsc"](8) == wsc(8) and SCHEDULES["constant"](8) == constant(8)


def test_rules_of_the_kinds_of_neurons():
    plan, never = wsc(4), -math.inf
    assert [plan.rule(kind, 1, 0)[:2] for kind in ("cif", "if", "signed_if")] == [(4, 0), (None, never), (None, -1)]
    assert constant(4).rule("cif", 1, 0) == (None, 0, None)


def test_hysteresis_ends_with_wake_and_is_for_cif_alone():
    plan = wsc(4, hysteresis=0.25)
    assert [plan.rule("cif", t, 0).low for t in (1, 4, 5)] == [-0.25, -0.25, 0]
    assert plan.rule("if", 1, 0).low == -math.inf and plan.rule("signed_if", 1, 0).low == -1


def test_layers_wait_longer_the_deeper_they_are():
    plan = wsc(4, delay=0.5)
    assert [plan.waiting(layer) for layer in range(5)] == [0, 0, 1, 1, 2]
    assert plan.rule("cif", 2, 4) == WAITING and plan.rule("cif", 3, 4) == (4, 0, None)
    assert plan.may_rest(5, 5) and not plan.may_rest(4, 5) and not wsc(4, delay=2).may_rest(8, 5)
