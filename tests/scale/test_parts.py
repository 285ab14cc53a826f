"""Parts are read once, whatever interrupts, and summed up."""

import json

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import yaml
from made_archive import broken_files, write_archive

from bone_age_tf.cli import main
from bone_age_tf.scale import local, parts
from bone_age_tf.scale.items import Item


@pytest.fixture
def run(exports, tmp_path, capsys):
    manifest = write_archive(tmp_path / "films")
    for name, data in list(broken_files().items())[:4]:
        (tmp_path / "films" / name).write_bytes(data)
        with manifest.open("a") as file:
            file.write(f"{name},female,\n")

    def score(output, *flags):
        status = main(
            [
                "--mode=score",
                f"--input={manifest}",
                f"--output={tmp_path / output}",
                "--runner=none",
                "--model=bins",
                f"--exports_dir={exports}",
                "--noquality_check",
                "--part_rows=5",
                *flags,
            ]
        )
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return score


def rows_of(folder):
    return [row for path in sorted(folder.glob("part-*.parquet")) for row in rows_in(path)]


def rows_in(path):
    return pq.read_table(path).to_pylist()


def test_each_row_of_the_manifest_has_one_row(run, tmp_path):
    status, printed, _ = run("out", "--formats=parquet,csv")
    assert status == 1  # some were not read
    rows = rows_of(tmp_path / "out")
    assert [row["row"] for row in rows] == list(range(28))
    assert rows[7]["image"] == "007.png" and rows[7]["sex"] == "male"
    table = pa_csv.read_csv(tmp_path / "out" / "part-000001.csv")
    assert table.column("row").to_pylist() == [5, 6, 7, 8, 9]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["by_status"] == {"failed": 4, "ok": 24}
    assert summary["by_sex"]["female"]["n"] == 8
    assert sum(summary["reasons"].values()) == 4
    refusals = (tmp_path / "out" / "refusals.csv").read_text().splitlines()
    assert refusals[0] == "row,image,status,reason" and len(refusals) == 5
    assert refusals[1].startswith("24,empty.png,failed,")
    assert "28 radiographs: 4 failed, 24 ok" in printed and "not a medical device" in printed


def test_an_interrupted_archive_is_completed_with_the_same_bytes(run, tmp_path, monkeypatch):
    run("whole")
    score_part, count = parts.score_part, []

    def dies(part, settings, output):
        count.append(part.number)
        if len(count) == 3:
            raise KeyboardInterrupt
        return score_part(part, settings, output)

    monkeypatch.setattr(local, "score_part", dies)
    status, _, _ = run("out")
    assert status == 130 and not (tmp_path / "out" / "summary.json").exists()
    monkeypatch.setattr(local, "score_part", score_part)
    count.clear()
    _, printed, _ = run("out")
    assert "2 of 6 parts are there already" in printed
    for path in sorted((tmp_path / "whole").glob("part-*")):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


def test_parts_pass_through_a_file(tmp_path):
    items = (
        Item(0, "a.png", "/films/caf\udce9.png", sex=1, chronological_age_months=71.5),
        Item(1, "b.png", "/films/all.tar", span=(512, 1024)),
        Item(2, "c.png", "/films/all.zip", "c.png", problem="sex: not a sex"),
    )
    divided = parts.make_parts(items, 2)
    output = parts.Output(str(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    written = output.write_list(divided)
    places = reversed(written.places)
    assert [parts.read_part(written.location, *place) for place in places] == divided[::-1]
    output.remove_lists()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_of_other_results_is_not_continued(run, tmp_path):
    run("out")
    status, _, error = run("out", "--part_rows=6")
    assert status == 2 and "part_rows 5, now it is 6" in error
    assert "another folder" in error
    (tmp_path / "out" / "plan.json").unlink()
    assert "parts without a plan.json" in run("out")[2]


def test_machines_share_the_parts_of_a_folder(run, tmp_path):
    run("whole")
    _, printed, _ = run("out", "--share=1/2")
    assert "3 of 6 parts are left to the other machines" in printed
    assert not (tmp_path / "out" / "summary.json").exists()
    run("out", "--share=0/2")
    for path in sorted((tmp_path / "whole").glob("part-*")):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
    assert (tmp_path / "out" / "summary.json").exists()


def test_the_kubernetes_job_of_the_guide_runs_this_command(root, run, tmp_path):
    guide = (root / "docs" / "guides" / "scale.md").read_text()
    job = yaml.safe_load(guide.partition("```yaml\n")[2].partition("```")[0])
    assert job["spec"]["completionMode"] == "Indexed"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (name,) = (variable["name"] for variable in container["env"])
    text = container["args"][0].replace(f"$({name})", "3")
    program, mode, *flags = text.split()
    assert (program, mode) == ("bone-age", "score")
    share = next(flag for flag in flags if flag.startswith("--share"))
    assert share == f"--share=3/{job['spec']['completions']}"
    others = [flag for flag in flags if not flag.startswith(("--input", "--output"))]
    status, printed, _ = run("out", *others, "--part_rows=1")
    assert status == 0 and "26 of 28 parts are left to the other machines" in printed


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--runner=dask"], "unknown runner"),
        (["--master=local[2]"], "--master has no effect"),
        (["--formats=xlsx"], "unknown format"),
        (["--share=2/2"], "write K/N with K below N"),
        (["--", "--project=p"], "options after -- are Beam's"),
    ],
)
def test_wrong_flags_are_named(run, flags, words):
    status, _, error = run("out", *flags)
    assert status == 2 and words in error
