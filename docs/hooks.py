"""MkDocs hooks: pages that are generated from the package and from other documents.

The reference of commands, columns, reasons, metadata and settings is written from the definitions
in the package, so that the site cannot contradict the code. Only the base install is imported.
"""

import ast
import json
import posixpath
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

INCLUDED = {
    "MODEL_CARD.md": "model_card.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/RESULTS.md": "results.md",
    "exports/README.md": "reference/exports.md",
    "exports/serving/RUNBOOK.md": "guides/runbook.md",
    "exports/web/README.md": "guides/page.md",
    "datasets/hand_phantom/README.md": "reference/hand_phantom.md",
    "datasets/radiograph_folder/README.md": "reference/radiograph_folder.md",
    "datasets/rsna_bone_age/README.md": "reference/rsna_bone_age.md",
}
"""Documents outside of `docs` that are included as pages of the site."""

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_FENCE = re.compile(r"^(```.*?^```)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are not files of `docs`."""
    for source, page in INCLUDED.items():
        text = (ROOT / source).read_text("utf-8")
        if not text.startswith("# "):
            text = f"# {Path(source).parent.name}\n\n{text}"
        files.append(File.generated(config, page, content=text))
    for page, write in PAGES.items():
        files.append(File.generated(config, page, content=write()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links between files of the repository into links between pages."""
    uri = page.file.src_uri
    sources = {target: source for source, target in INCLUDED.items()}
    source = sources.get(uri, f"docs/{uri}")
    parts = _FENCE.split(markdown)
    parts[::2] = [_LINK.sub(lambda link: _rewrite(link, source, uri), part) for part in parts[::2]]
    return "".join(parts)


def _rewrite(link: re.Match[str], source: str, uri: str) -> str:
    bang, label, target = link.groups()
    if ":" in target or target.startswith("#"):
        return link.group()
    path, _, anchor = target.partition("#")
    place = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if place in INCLUDED:
        page = INCLUDED[place]
    elif place.startswith("docs/"):
        page = place.removeprefix("docs/")
    elif (ROOT / place).exists():
        return label  # a file of the repository that is no page
    else:
        return link.group()  # MkDocs reports it
    relative = posixpath.relpath(page, posixpath.dirname(uri) or ".")
    return f"{bang}[{label}]({relative}{'#' + anchor if anchor else ''})"


def commands_page() -> str:
    """Returns the page of all modes, from each mode's own definition of its flags."""
    from absl import flags

    from bone_age_tf.cli import DEFAULT_MODE
    from bone_age_tf.commands.catalog import MODES, load_mode

    lines = [
        "# Commands and flags",
        "",
        "This page is generated from the flags that each mode defines.",
        "",
        "```text",
        "bone-age [--mode=]MODE [INPUT] [--FLAG=VALUE ...]",
        "```",
        "",
        "In a clone, `python run.py` is the same command. `bone-age --mode=MODE --help` prints a "
        "mode's flags and examples, and `bone-age --version` prints the version. Where flags are "
        f"given without a mode, the mode is `{DEFAULT_MODE}`. A switch such as `--resume` is "
        "turned off with `no` before its name, as in `--noquality_check`.",
        "",
        "| exit status | meaning |",
        "|---|---|",
        "| 0 | everything was done |",
        "| 1 | some radiographs were rejected or could not be read, or doubts were accepted |",
        "| 2 | wrong use; the message names the value, the cause and the remedy |",
        "| 130 | interrupted |",
        "",
        "| mode | purpose |",
        "|---|---|",
        *(f"| [`{name}`](#{name}) | {text} |" for name, text in MODES.items()),
    ]
    for name, text in MODES.items():
        mode = load_mode(name)
        values = flags.FlagValues()
        mode.define_flags(values)
        lines += ["", f"## `{name}` {{ #{name} }}", "", f"{text[0].upper()}{text[1:]}."]
        lines += ["", "```text", mode.EXAMPLES.replace("{command}", "bone-age").rstrip(), "```"]
        if bare := getattr(mode, "INPUT_FLAG", None):
            lines += ["", f"A word without a flag is `--{bare}`."]
        if getattr(mode, "TAKES_CONFIG", False):
            lines += ["", "The mode takes [settings](settings.md) as `--config.KEY=VALUE`."]
        lines += ["", "| flag | default | meaning |", "|---|---|---|"]
        aliases = [flag for flag in values if values[flag].name != flag]
        for flag in sorted(values):
            if flag in aliases or flag in ("flagfile", "undefok"):
                continue
            default = values[flag].default
            shown = ",".join(default) if isinstance(default, list) else default
            cell = "" if shown is None else f"`{shown}`"
            lines.append(f"| `--{flag}` | {cell} | {_cell(values[flag].help)} |")
    return "\n".join(lines) + "\n"


def csv_page() -> str:
    """Returns the page of the columns of tables, and of JSON files."""
    from bone_age_tf import schema
    from bone_age_tf.clinical import result_columns, result_json
    from bone_age_tf.inference.cases import COLUMNS

    described = result_json.make_schema()
    prediction = described["properties"]["predictions"]["items"]["properties"]
    meanings = {
        schema.IMAGE: "path of the image from the folder of the table; required",
        schema.SEX: "`female`, `male`, `f` or `m`; without it, both results are given",
        schema.AGE_MONTHS: "the known bone age in months, not the child's age; the mean absolute "
        "error is then reported",
        schema.CHRONOLOGICAL_AGE_MONTHS: "the child's age in months when the radiograph was taken; "
        "preferred to the age in a DICOM file",
        schema.HEIGHT_CM: "the child's height in cm at that time; preferred to the height in a "
        "DICOM file",
    }
    lines = [
        "# CSV columns",
        "",
        "## Results",
        "",
        "`--mode=predict`, `ResultTable.to_csv` and the page in the browser write the same "
        "columns, in this order. A file that exists is replaced as a whole. Cells that a "
        "spreadsheet would run as a formula are escaped. Columns after `reason` that are unknown "
        "are empty, as most are on the page, which reads no DICOM and asks for no age.",
        "",
        "| column | content |",
        "|---|---|",
        *(f"| `{column.name}` | {column.meaning} |" for column in result_columns.COLUMNS),
        "",
        "Texts of the column `reason` are listed under [Reasons](reasons.md).",
        "",
        "## JSON { #json }",
        "",
        "`--output=FILE.json` writes an array with an object for each radiograph, and "
        "`--output=FILE.jsonl` an object a line; in Python, `ResultTable.to_json` does. Numbers "
        "are not rounded, and what is unknown is `null`. The JSON schema of an object is "
        f"`bone_age_tf/clinical/{result_json.SCHEMA_FILE}`; `clinical.read_json_schema` returns "
        f"it. An object has the entries {_entries(described['required'])}; only the file of a "
        f"[report](../guides/reports.md) has `{result_json.REPORT}` too. Each of `predictions` has "
        f"{_entries(prediction)}; `standard_deviation_scores` has a score by each reference, "
        "whatever `--sds_reference` is.",
        "",
        "## Inputs",
        "",
        "`--mode=predict`, `--mode=calibrate`, `--mode=explain` and `Reader.read_table` read "
        "tables with these columns, in any order and in upper or lower case.",
        "",
        "| column | content |",
        "|---|---|",
        *(f"| `{name}` | {meanings[name]} |" for name in COLUMNS),
        "",
        "A column `gender` is read as the sex too, and so is a column `male` with true and false, "
        "as in RSNA's tables. Files are found in another Unicode form, with backslashes, and "
        "written as `1377.0`; where there is no such file, a similar name is suggested. The "
        "index column of pandas is ignored.",
        "",
        "The table for training, with more columns, is described in "
        "[radiograph_folder](radiograph_folder.md).",
    ]
    return "\n".join(lines) + "\n"


def _entries(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def reasons_page() -> str:
    """Returns the page of reason codes, from `reasons`."""
    from bone_age_tf import reasons

    lines = [
        "# Reasons",
        "",
        "Every radiograph that is corrected, rejected or not readable has a reason. A SavedModel "
        "returns the code as `reason_code` and the text as `reason`; a code is never given another "
        "meaning. Tables of results call the status `error` of a server `failed`.",
        "",
        "| code | name | status | text, or the part of it that is always the same |",
        "|---|---|---|---|",
        *(
            f"| {int(reason)} | `{reason.name}` | `{reasons.status_of(reason)}` "
            f"| {_cell(reasons.TEXTS[reason])} |"
            for reason in reasons.Reason
        ),
        "",
        "## Corrections",
        "",
        "The quality check corrects what it recognises with a high probability, and reports it "
        f"after the words “{reasons.TEXTS[reasons.Reason.CORRECTED]}”:",
        "",
        *(
            f"- {text}"
            for text in (*filter(None, reasons.POSE_CORRECTIONS), reasons.GREYS_INVERTED)
        ),
        f"- {reasons.MARGINS_CROPPED}",
        "",
        "## DICOM",
        "",
        "Only the package reads DICOM, so that the reasons why a DICOM file is not read have no "
        "codes:",
        "",
        *(f"- {text}" for text in reasons.DICOM_TEXTS),
        "",
        "Notes on what a file states are reported beside the result:",
        "",
        *(f"- {text}" for text in reasons.DICOM_NOTES),
        "",
        "## Limits",
        "",
        "| limit | value |",
        "|---|---|",
        f"| minimum length of the shorter side, pixels | {reasons.LEAST_SIDE_PX} |",
        "| minimum difference between the 1st and 99th grey percentiles, of 255 "
        f"| {reasons.LEAST_RANGE:g} |",
        f"| minimum number of grey levels | {reasons.LEAST_LEVELS} |",
        f"| maximum number of pixels | {reasons.MOST_PIXELS:,} |",
        f"| minimum probability for a rotation | {reasons.SURE_TURNED:g} |",
        f"| minimum probability for mirroring | {reasons.SURE_MIRRORED:g} |",
        f"| minimum probability for inverting the grey levels | {reasons.SURE_INVERTED:g} |",
    ]
    return "\n".join(lines) + "\n"


def metadata_page() -> str:
    """Returns the page of the metadata contract, as `bundle.make_metadata` writes it."""
    from bone_age_tf import bundle, schema

    outputs = {
        schema.AGE_MONTHS: (1, 1),
        schema.DISTRIBUTION: (1, 120),
        schema.INTERVAL_90: (1, 2),
        schema.UNFAMILIARITY: (1, 1),
    }
    example = bundle.make_metadata(
        "efficientnet_lite0",
        2,
        256,
        "pad",
        outputs,
        2.0,
        {"float16": "model_float16.tflite"},
        {schema.SERVING_SIGNATURE: {"inputs": {}, "outputs": {}}},
        {"bone_age_tf": "0.2.0"},
        {"data": {}, "metrics": {}, "parity": {}, "training": {}},
    )
    meanings = {
        "name": "the model's name",
        "version": "the export's number",
        "intended_use": "what the model may be used for",
        "inputs": "shape, type and range of the inputs of the LiteRT files",
        "outputs": "shape, type and unit of the outputs of the LiteRT files",
        "preprocessing": "all that happens to a file before the network sees it",
        "signatures": "inputs and outputs of each signature of the SavedModel",
        "reasons": "status and text of each [reason code](reasons.md)",
        "files": "file names by variant, such as `float16`",
        "versions": "software that wrote the export",
        "data": "dataset, and the images that trained and tested the model",
        "metrics": "figures on the test images, with 95 % intervals",
        "parity": "differences of the files from the Keras model",
        "training": "seed and settings of the training",
    }
    if unknown := example.keys() - meanings.keys():
        raise ValueError(f"docs/hooks.py does not describe these entries: {sorted(unknown)}")
    lines = [
        "# Metadata of an export",
        "",
        "Each export holds `metadata.json`, which `bone_age_tf.bundle.make_metadata` writes and "
        "`bone_age_tf.Bundle` reads. LiteRT files hold the same text, without the measured "
        "parity, as the metadata buffer `metadata.json`. Programs in other languages need "
        "nothing else to use a file.",
        "",
        "| entry | content |",
        "|---|---|",
        *(f"| `{name}` | {meanings[name]} |" for name in example),
        "",
        "`bundle.Bundle.open` rejects metadata with other input shapes, ranges or sex codes than "
        "those below, and resize modes that are not one of "
        f"{', '.join(f'`{mode}`' for mode in schema.RESIZE_MODES)}.",
        "",
        "The entries that every export has, with the values of a network of 256 px (signatures "
        "and facts about the training are left empty here):",
        "",
        "```json",
        json.dumps(example, indent=2, ensure_ascii=False),
        "```",
    ]
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """Returns the page of settings, from the sources of the configs."""
    from bone_age_tf.config_ranges import RANGES
    from bone_age_tf.models.catalog import MODELS

    package = ROOT / "bone_age_tf"
    lines = [
        "# Settings",
        "",
        "A setting is changed with `--config.KEY=VALUE` on the command line, and with "
        "`bone_age_tf.get_config(model, dataset, KEY=VALUE)` in Python, where two underscores "
        "stand for the dot (`augmentation__policy`). A key that does not exist, a value of "
        "another type and a value outside its range are rejected.",
        "",
        "## Defaults of all models",
        "",
        "```py",
        _function(package / "config.py", "base_config"),
        "```",
        "",
        "## Augmentation",
        "",
        "The keys below begin with `augmentation.`. The policies are `none`, `standard`, `strong` "
        "and `films`.",
        "",
        "```py",
        _function(package / "config.py", "_augmentation"),
        "```",
        "",
        "## Settings that depend on the dataset",
        "",
        "```py",
        _function(package / "config.py", "minutes_on_two_cores"),
        "```",
        "",
        "## Settings of each model",
        "",
        "The main command for each model stands at the top of its file.",
    ]
    for model in MODELS:
        source = (package / "configs" / f"{model}.py").read_text("utf-8").rstrip()
        body = "\n".join(f"    {line}".rstrip() for line in ["```py", *source.splitlines(), "```"])
        lines += ["", f'??? note "{model}"', "", body]
    lines += ["", "## Ranges", "", "| setting | range |", "|---|---|"]
    lines += [f"| `{key}` | {words} |" for key, (words, _) in RANGES.items()]
    return "\n".join(lines) + "\n"


def _function(path: Path, name: str) -> str:
    """Returns the source of a function."""
    text = path.read_text("utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return ast.get_source_segment(text, node) or ""
    raise ValueError(f"{path} has no function {name}")


def _cell(text: str) -> str:
    """Returns a text as the cell of a table."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


PAGES: dict[str, Callable[[], str]] = {
    "reference/commands.md": commands_page,
    "reference/csv.md": csv_page,
    "reference/metadata.md": metadata_page,
    "reference/reasons.md": reasons_page,
    "reference/settings.md": settings_page,
}
"""Pages that are written from the package."""
