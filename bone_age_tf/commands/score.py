"""`--mode=score`: reads an archive of radiographs, on Apache Beam or Spark where wanted."""

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from absl import flags

from bone_age_tf import schema
from bone_age_tf.commands import EXIT_OK, EXIT_SOME_FAILED, RESEARCH_USE, shared_flags
from bone_age_tf.errors import ConfigError, require_known
from bone_age_tf.extras import require_packages

if TYPE_CHECKING:
    from bone_age_tf.scale.parts import Output, Part
    from bone_age_tf.scale.scoring import Settings

INPUT_FLAG = "input"
ENGINE_OPTIONS = "engine_options"
"""Flag that takes the words after `--`."""
RESUMES = True
NONE, DIRECT, SPARK = "none", "direct", "spark"
BEAM_RUNNERS = {
    DIRECT: "DirectRunner",
    "fnapi": "FnApiRunner",
    "portable": "PortableRunner",
    "dataflow": "DataflowRunner",
    "flink": "FlinkRunner",
}
"""Runners of Beam by the value of `--runner`."""
RUNNERS = (NONE, *BEAM_RUNNERS, SPARK)
EXAMPLES = """\
Read an archive (a folder, a ZIP or TAR file, or a manifest: CSV or Parquet with a column image and,
where known, sex, chronological_age_months, height_cm) on this machine:
  {command} --mode=score --input=manifest.csv --output=results --workers=8
  {command} --mode=score --input='shards/*.tar' --sex=female --output=results

On a Spark cluster, or any runner of Apache Beam, whose own options follow after --:
  {command} --mode=score --input=manifest.csv --output=/shared/results --runner=spark \\
      --master=spark://HOST:7077
  {command} --mode=score --input=gs://BUCKET/manifest.csv --output=gs://BUCKET/results \\
      --runner=dataflow -- --project=PROJECT --region=REGION --temp_location=gs://BUCKET/tmp

The same command again continues an interrupted one. In the folder: part-*.parquet with the results,
refusals.csv with what was not read, summary.json, plan.json.
"""


def define_flags(values: flags.FlagValues) -> None:
    """Defines the mode's flags."""
    shared_flags.define_input(values)
    shared_flags.text(values, "output", "scores", "The folder to write, or a URL.")
    shared_flags.text(
        values,
        "runner",
        DIRECT,
        f"What reads: {NONE} (this process alone), a runner of Apache Beam "
        f"({', '.join(BEAM_RUNNERS)}) or {SPARK}.",
    )
    shared_flags.whole_number(
        values, "workers", None, "Processes of this machine. Default: its cores.", 1
    )
    shared_flags.text(
        values, "master", None, "Spark's master, spark://HOST:PORT. Default: this machine."
    )
    shared_flags.whole_number(
        values,
        "part_rows",
        None,
        "Radiographs of a part, which one worker reads and which has a file. Default: 256.",
        1,
    )
    shared_flags.text(
        values,
        "share",
        None,
        "K/N reads every N-th part, beginning with part K from 0, for N machines that share the "
        "work and the folder.",
    )
    flags.DEFINE_list(
        "formats", ["parquet"], "Formats of the parts: parquet, csv.", flag_values=values
    )
    shared_flags.text(
        values,
        "sds_reference",
        schema.BRUSH_FOUNDATION,
        "The table with the SD of bone age for the standard deviation score, "
        f"{' or '.join(schema.SD_REFERENCES)}.",
    )
    shared_flags.define_exported_model(values)
    shared_flags.define_variant(values)
    shared_flags.define_quality_check(values)
    shared_flags.text(values, "calibration", None, "A site's calibration, from --mode=calibrate.")
    flags.DEFINE_multi_string(
        ENGINE_OPTIONS, [], "An option of Beam; the same as after --.", flag_values=values
    )


def run(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Reads an archive, writes its parts, the refusals and the summary, and prints the summary."""
    if not values.input:
        raise ConfigError("--mode=score needs --input=MANIFEST, FOLDER, ZIP, TAR or a pattern")
    require_known("runner", values.runner, RUNNERS)
    require_known("sds_reference", values.sds_reference, schema.SD_REFERENCES)
    if values.master and values.runner != SPARK:
        raise ConfigError(f"--master has no effect with --runner={values.runner}")
    if values.engine_options and values.runner not in BEAM_RUNNERS:
        raise ConfigError(f"options after -- are Beam's; --runner={values.runner} takes none")
    from bone_age_tf.scale import parts as parting
    from bone_age_tf.scale.items import list_items
    from bone_age_tf.scale.scoring import Settings
    from bone_age_tf.scale.summary import write_summary

    for name in values.formats:
        require_known("format", name, parting.FORMATS)
    settings = Settings(
        values.model,
        values.exports_dir,
        values.variant,
        values.calibration,
        values.quality_check,
        values.sds_reference,
    )
    output = parting.Output(values.output, tuple(values.formats))
    items = list_items(values.input, values.sex)
    part_rows = values.part_rows or parting.PART_ROWS
    plan = parting.Plan.of(values.input, items, part_rows, settings)
    finished = parting.begin_or_continue(plan, output)
    parts = parting.make_parts(items, part_rows)
    first, step = _share(values.share)
    mine = parts[first::step]
    missing = [part for part in mine if part.number not in finished]
    if finished:
        print(f"{len(finished)} of {len(parts)} parts are there already", flush=True)
    start = time.monotonic()
    if missing:
        with _progress(output, {part.number for part in mine}):
            _read(missing, settings, output, values)
    left = len(parts) - len(output.finished())
    if left:
        print(f"{left} of {len(parts)} parts are left to the other machines")
        return EXIT_OK
    output.remove_lists()
    newly_read = sum(len(part.items) for part in missing)
    content = write_summary(output, time.monotonic() - start, newly_read)
    for line in _lines(content):
        print(line)
    print(f"Read by {plan.model}; written to {output.folder}")
    print(RESEARCH_USE)
    return EXIT_OK if set(content["by_status"]) <= {"ok"} else EXIT_SOME_FAILED


def _share(text: str | None) -> tuple[int, int]:
    """Returns K and N of a share K/N; 0 and 1 without one."""
    if text is None:
        return 0, 1
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise ConfigError(f"--share={text}: write K/N with K below N, for example 0/4")
    return int(match[1]), int(match[2])


def _read(
    missing: "list[Part]", settings: "Settings", output: "Output", values: flags.FlagValues
) -> None:
    workers = values.workers or os.cpu_count() or 1
    if values.runner == NONE:
        from bone_age_tf.scale import local

        local.run(missing, settings, output)
    elif values.runner == SPARK:
        from bone_age_tf.scale import spark

        require_packages("--runner=spark", ["pyspark"])
        session = spark.open_session(values.master or f"local[{workers},8]", values.workers)
        try:
            spark.run(session, missing, settings, output)
        finally:
            session.stop()
    else:
        from bone_age_tf.scale.supervision import run_until_complete

        require_packages(f"--runner={values.runner}", ["apache_beam"])
        own = [option for option in values.engine_options if option.startswith("--runner")]
        if own:
            raise ConfigError(f"{own[0]} after --: give --runner before it")
        here = ["--default_sdk_harness_log_level=WARNING"]
        if values.runner in (DIRECT, "fnapi"):
            here += ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
        options = [*here, *values.engine_options]
        run_until_complete(missing, settings, output, options, BEAM_RUNNERS[values.runner])


@contextlib.contextmanager
def _progress(output: "Output", parts: set[int]) -> Iterator[None]:
    """Shows how many parts are complete while the block runs: a line a minute."""
    from bone_age_tf.progress import LINE_SECONDS, time_left

    ended, start = threading.Event(), time.monotonic()
    before = len(output.finished() & parts)

    def look() -> None:
        while not ended.wait(LINE_SECONDS):
            done = len(output.finished() & parts)
            read, total = done - before, len(parts) - before
            left = f", {time_left(time.monotonic() - start, read, total)}" if read else ""
            print(f"parts read: {done} of {len(parts)}{left}", flush=True)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _lines(content: dict[str, Any]) -> list[str]:
    """Returns the lines of the summary."""
    counts = ", ".join(f"{count:,} {status}" for status, count in content["by_status"].items())
    lines = [f"{content['radiographs']:,} radiographs: {counts}"]
    for sex, of_sex in content["by_sex"].items():
        if of_sex["n"]:
            mean = of_sex["mean_bone_age_months"]
            lines.append(f"{sex}: n = {of_sex['n']:,}, mean bone age {mean:.1f} months")
    for reason, count in list(content["reasons"].items())[:5]:
        lines.append(f"not read, {count:,}: {reason}")
    rate = content["radiographs_per_second"]
    if rate:
        lines.append(f"{rate:.1f} radiographs a second, with the start of the workers")
    return lines
