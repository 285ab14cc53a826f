import pytest

from bone_age_tf import progress
from bone_age_tf.training.fit import Schedule
from bone_age_tf.training.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves on by hand."""
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_a_minute_with_the_time_left(clock, capsys):
    shown = Progress(Schedule(2, 100), 32, done=50)
    shown.on_train_begin()
    shown.on_epoch_begin(0)
    for batch in range(100):
        clock[0] += 0 if batch < 50 else 90 if batch == 50 else 10
        shown.on_train_batch_end(batch, {} if batch < 50 else {"loss": 1.5, "mae": 8.25})
    shown.on_epoch_end(0, {"loss": 1.5, "mae": 8.25, "val_mae": 7.5})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("epoch 1 of 2, step 51 of 200: loss 1.500, MAE 8.2 months")
    assert "step 57 of 200" in lines[1]
    assert lines[1].endswith("3.2 images/s, 0:23:50 left")
    assert len(lines) == 2 + 7 + 1
    assert lines[-1] == (
        "epoch 1 of 2 done: loss 1.500, training MAE 8.2 months, validation MAE 7.50 months, "
        "0:16:40 left"
    )


def test_other_long_work_gets_one_too(clock, capsys):
    for _ in progress.shown(range(100), 100, "packing"):
        clock[0] += 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "packing: 19 of 100, 0:04:03 left"
    assert len(lines) == 5
