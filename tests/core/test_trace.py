import json
import math

from thalweg.core.trace import Cost, Point, Trace


def trace():
    points = [
        Point(Cost(), {"validation/accuracy": 0.1}),
        Point(
            Cost(steps=10, seconds=0.5), {"validation/accuracy": 0.9, "train/loss": float("inf")}
        ),
        Point(
            Cost(steps=20, seconds=1.0),
            {"validation/accuracy": 0.95, "test/accuracy": float("nan")},
        ),
    ]
    return Trace(tuple(points))


def test_a_trace_survives_json_with_what_json_lacks():
    data = json.loads(json.dumps(trace().to_dict(), allow_nan=False))
    back = Trace.from_dict(data)
    assert back.points[:2] == trace().points[:2]
    assert math.isnan(back.points[2].quality["test/accuracy"])
    assert "train/loss" not in back.points[0].quality


def test_final_is_the_last_value_and_nothing_where_the_run_did_not_finish():
    assert trace().final("validation/accuracy") == 0.95
    assert trace().final("train/loss") == math.inf
    assert math.isnan(trace().final("test/loss"))
    assert math.isnan(Trace(trace().points, "diverged").final("validation/accuracy"))


def test_cost_to_reach_is_that_of_the_first_point_that_meets_the_target():
    reach = trace().cost_to_reach
    assert reach("validation/accuracy", 0.9, better="higher", cost="steps") == 10
    assert reach("validation/accuracy", 0.91, better="higher", cost="seconds") == 1.0
    assert reach("validation/accuracy", 0.99, better="higher", cost="steps") == math.inf
    assert reach("validation/accuracy", 0.5, better="lower", cost="steps") == 0
