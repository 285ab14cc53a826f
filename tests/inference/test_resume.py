"""An interrupted prediction goes on; a table may go to standard output."""

import csv
import json

import pytest
from PIL import Image

from bone_age_tf import cli
from bone_age_tf.commands import EXIT_INTERRUPTED
from bone_age_tf.inference.journal import journal_path
from bone_age_tf.reader import Reader
from command_words import predict


@pytest.fixture
def table(tmp_path):
    """Thirty images of one grey each; the model answers half of it."""
    lines = ["image,sex,age_months"]
    for place in range(30):
        Image.new("L", (8, 8), 100 + place).save(tmp_path / f"{place}.png")
        lines.append(f"{place}.png,female,{50 + place / 2}")
    path = tmp_path / "cases.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def count_reads(monkeypatch):
    """Names of the images that were read."""
    names, original = [], Reader.prepare

    def prepare(reader, case, *given):
        names.append(case.image)
        return original(reader, case, *given)

    monkeypatch.setattr(Reader, "prepare", prepare)
    return names


def interrupt_after(monkeypatch, count):
    """Stands for Ctrl-C while the image after `count` is read."""
    original = Reader.read_all

    def read_all(*arguments):
        for number, pair in enumerate(original(*arguments)):
            if number == count:
                raise KeyboardInterrupt
            yield pair

    monkeypatch.setattr(Reader, "read_all", read_all)
    return lambda: monkeypatch.setattr(Reader, "read_all", original)


def test_an_interrupted_prediction_continues(
    exports, table, tmp_path, capsys, monkeypatch, count_reads
):
    whole, output = tmp_path / "whole.csv", tmp_path / "out.csv"
    arguments = (table, None, exports, "bins", "float32")
    assert predict(*arguments, whole) == 0
    expected = capsys.readouterr().out.splitlines()[:-2]
    restore = interrupt_after(monkeypatch, 12)
    assert predict(*arguments, output) == EXIT_INTERRUPTED
    assert "12 of 30 images are read; the same command with --resume" in capsys.readouterr().err
    assert not output.exists()
    restore()
    part = journal_path(output)
    part.write_text(part.read_text() + '{"case": ["13.png", 0')  # killed while it wrote a line
    Image.new("L", (8, 8), 200).save(tmp_path / "3.png", compress_level=0)  # has changed since
    count_reads.clear()
    assert predict(*arguments, output, resume=True) == 0
    assert sorted(count_reads) == sorted(["3.png", *(f"{place}.png" for place in range(12, 30))])
    assert not part.exists()
    rows, before = (list(csv.DictReader(path.open())) for path in (output, whole))
    assert rows[3]["bone_age_months"] == "100.0"
    assert rows[:3] + rows[4:] == before[:3] + before[4:]
    assert expected[0] == "30 images: 30 predicted, 0 failed, 0 rejected"
    assert expected[0] in capsys.readouterr().out


def test_results_of_another_model_are_not_mixed_in(exports, table, tmp_path, capsys, monkeypatch):
    output = tmp_path / "out.csv"
    restore = interrupt_after(monkeypatch, 5)
    predict(table, None, exports, "bins", None, output)
    restore()
    capsys.readouterr()
    assert predict(table, None, exports, "regression", None, output, resume=True) == 2
    assert "these results are of bins version 1" in capsys.readouterr().err
    assert predict(table, None, exports, "regression", None, output) == 0  # begins anew
    assert not journal_path(output).exists()
    assert predict(table, None, exports, "bins", None, output, resume=True) == 2
    assert "no interrupted prediction of" in capsys.readouterr().err


def test_ctrl_c_has_its_exit_status_and_promises_what_is_true(
    exports, table, tmp_path, capsys, monkeypatch
):
    interrupt_after(monkeypatch, 0)
    flags = [f"--input={table}", f"--exports_dir={exports}", f"--output={tmp_path / 'o.csv'}"]
    assert cli.main(["--mode=predict", "--model=compact", *flags]) == 2  # no such export
    assert predict(table, None, exports, "bins", None, tmp_path / "o.csv") == 130
    assert "stopped; 0 of 30 images are read; nothing is kept" in capsys.readouterr().err
    assert cli.main(["--mode=explain", "--resume", *flags]) == 2
    assert "--resume has no effect on --mode=explain" in capsys.readouterr().err


def test_standard_output_holds_the_table_alone(exports, table, capsys):
    assert predict(table, None, exports, "bins", "float32", "-") == 0
    printed = capsys.readouterr()
    rows = list(csv.DictReader(printed.out.splitlines()))
    assert [row["bone_age_months"] for row in rows[:3]] == ["50.0", "50.5", "51.0"]
    assert len(rows) == 30
    assert "30 images: 30 predicted" in printed.err
    assert "Written to" not in printed.err


def test_results_of_another_version_are_named(exports, table, tmp_path, capsys, monkeypatch):
    output = tmp_path / "out.csv"
    restore = interrupt_after(monkeypatch, 2)
    predict(table, None, exports, "bins", "float32", output)
    restore()
    part = journal_path(output)
    part.write_text(part.read_text().replace('"result"', '"rows"'))
    assert predict(table, None, exports, "bins", "float32", output, resume=True) == 2
    assert "line 2 is damaged; delete the file" in capsys.readouterr().err


def test_the_journal_is_lines_of_json(exports, table, tmp_path, monkeypatch):
    output = tmp_path / "out.csv"
    interrupt_after(monkeypatch, 2)
    predict(table, None, exports, "bins", "float32", output)
    first, *lines = map(json.loads, journal_path(output).read_text().splitlines())
    assert first["reader"].startswith("bins version 1, float32")
    results = [line["result"] for line in lines]
    assert [result["source"] for result in results] == ["0.png", "1.png"]
    assert [result["by_sex"]["female"]["interval_90_months"] for result in results] == [
        [45.0, 57.0],
        [45.5, 57.5],
    ]
