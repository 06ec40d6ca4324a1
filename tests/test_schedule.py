from casc_det.schedule import SCHEDULES, constant, wsc


def test_wsc_is_awake_for_levels_steps():
    plan = wsc(4)
    assert [plan.awake(t) for t in range(1, 8)] == [True] * 4 + [False] * 3
    assert [plan.divisor(t) for t in range(1, 8)] == [1, 2, 3, 4, 4, 4, 4]
    assert plan.count_limit == 4


def test_constant_is_awake_for_ever_and_unlimited():
    plan = constant(4)
    assert all(plan.awake(t) and plan.divisor(t) == t for t in (1, 4, 5, 1000))
    assert plan.count_limit is None


def test_schedules_are_found_by_name():
    assert SCHEDULES["wsc"](8) == wsc(8) and SCHEDULES["constant"](8) == constant(8)
