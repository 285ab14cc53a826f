"""The audit, as a user runs it, and a training without what it doubts."""

import csv

import pytest

from bone_age_tf import cli
from bone_age_tf.evaluation import audit_report, auditing

pytestmark = pytest.mark.slow
SMALL = ["--dataset=hand_phantom/tiny", "--config.image_size_px=32", "--config.epochs=1"]
SMALL += ["--config.base_filters=8", "--config.augmentation.policy=none"]


def test_an_audit_and_a_training_without_its_suspects(beside_phantoms, monkeypatch, capsys, eager):
    inspected, inspect = {}, auditing._inspect

    def inspect_once(checker, detector, png):
        if png not in inspected:
            inspected[png] = inspect(checker, detector, png)
        return inspected[png]

    monkeypatch.setattr(auditing, "_inspect", inspect_once)
    command = ["--mode=audit", "--folds=2", *SMALL, "--config.batch_size=8"]
    assert cli.main(command) == 0
    folder = beside_phantoms / "runs" / "audit-hand_phantom-tiny"
    assert f"report: {folder.relative_to(beside_phantoms) / 'audit.md'}" in capsys.readouterr().out
    page = (folder / "audit.md").read_text()
    assert (
        "--mode=audit --model=cnn --dataset=hand_phantom/tiny --folds=2 --config.image_size_px=32"
        in page
    )
    for part in ("trains (train)", "validates (validation)", "tests (test)"):
        assert part in page
    with (folder / "trust.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 48
    monkeypatch.setattr(audit_report, "_pictures", lambda *_: [])
    assert cli.main(command) == 0  # what the networks have said is kept
    assert "fold 1 of 2" not in capsys.readouterr().out

    (folder / "suspects.csv").write_text("image_id\nno such image\n")
    left_out = f"--config.leave_out={folder / 'suspects.csv'}"
    assert cli.main(["--model=cnn", *SMALL, left_out, "--workdir=runs/without"]) == 2
    assert "'no such image', is that of a training image" in capsys.readouterr().err


def test_one_fold_and_unknown_data_are_refused(capsys):
    assert cli.main(["--mode=audit", "--folds=1"]) == 2
    assert "--folds=1: no images are left for training" in capsys.readouterr().err
    assert cli.main(["--mode=audit", "--dataset=rsna"]) == 2
    assert "Did you mean rsna_bone_age?" in capsys.readouterr().err
