"""The audit, as a user runs it, and a training without what it doubts."""

import csv

import numpy as np
import pytest

from bone_age_tf import cli
from bone_age_tf.evaluation import audit_report, auditing
from dicom_files import file_bytes

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


def test_dicom_files_are_audited(tmp_path, monkeypatch, capsys):
    """A copy is found, whatever its compression and name."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "films"
    folder.mkdir()
    lines = ["image,sex,age_months,split"]
    random = np.random.default_rng(0)
    window = {"WindowCenter": 2000, "WindowWidth": 4000}
    for number in range(30):
        pixels = random.integers(0, 4096, (80, 64))
        (folder / f"IM{number:02d}").write_bytes(file_bytes(pixels, syntax="RLE", **window))
        lines.append(f"IM{number:02d},f,{60 + 3 * number},{'train' if number % 5 else 'test'}")
    (folder / "copy").write_bytes(file_bytes(pixels, syntax="JPEG-LS", **window))
    lines.append("copy,f,150,train")
    (folder / "films.csv").write_text("\n".join(lines) + "\n")
    flags = ["--mode=audit", "--dataset=radiograph_folder", f"--manual_dir={folder}", "--folds=0"]
    assert cli.main([*flags, f"--exports_dir={tmp_path}", "--workdir=audit"]) == 0
    assert "prepared 31 images" in capsys.readouterr().out
    with (tmp_path / "audit" / "suspects.csv").open() as file:
        suspects = {row["image_id"] for row in csv.DictReader(file)}
    assert suspects & {"copy", "IM29"}
