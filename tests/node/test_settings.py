import json
import re
import subprocess
import sys

import pytest
import yaml
from absl import flags
from parts import settings_in

from bone_age_tf.cli import main
from bone_age_tf.commands import node
from bone_age_tf.errors import ConfigError, InputError
from bone_age_tf.inference import dicomweb_study
from bone_age_tf.node.metrics import METRICS
from bone_age_tf.node.settings import (
    is_allowed,
    parse_ae_title,
    parse_destination,
    parse_networks,
)

SEND_TO = "--send_to=PACS@127.0.0.1:104"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--send_to=AET@HOST:PORT"),
        (["--send_to=PACS"], "--send_to=PACS: write AET@HOST:PORT"),
        (["--send_to=PACS@host:70000"], "write AET@HOST:PORT"),
        (["--send_to=https://me:word@host/dicom-web"], "~/.netrc"),
        ([SEND_TO, "--ae_title=MUCHTOOLONGATITLE"], "--ae_title=MUCHTOOLONGATITLE"),
        ([SEND_TO, "--report=fhir"], "--report=fhir"),
        ([SEND_TO, "--allow_address=10.1.2"], "--allow_address=10.1.2"),
        ([SEND_TO, "--tls_certificate=node.pem"], "--tls_key"),
        ([SEND_TO, "--tls_ca=ca.pem"], "--tls_ca has no effect"),
        ([SEND_TO, "--send_tls"], "--send_tls needs"),
        ([SEND_TO, "--sds_reference=other"], "sds_reference"),
        ([SEND_TO, "--max_associations=0"], "max_associations"),
    ],
)
def test_bad_flags_are_one_line_that_names_them(arguments, message, capsys):
    assert main(["--mode=node", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_help_teaches(capsys):
    assert main(["node", "--help"]) == 0
    text = capsys.readouterr().out
    for words in ("echoscu", "--allow_ae", "SIGTERM", "/healthz", "--spool [spool]"):
        assert words in text


def test_destinations():
    assert parse_destination("PACS 1@pacs.example:104").label == "PACS 1@pacs.example:104"
    assert parse_destination("A@[::1]:11112").host == "::1"
    web = parse_destination("https://pacs.example/dicom-web/")
    assert (web.url, web.host, web.port) == ("https://pacs.example/dicom-web", "pacs.example", 443)
    with pytest.raises(ConfigError, match="backslash"):
        parse_ae_title("ae_title", "A\\B")


def test_who_may_send(tmp_path, monkeypatch):
    def look_up(host, port):
        if host == "unknown.example":
            raise OSError
        return [(2, 1, 6, "", ("10.1.0.5", 0))]

    monkeypatch.setattr("bone_age_tf.node.settings.socket.getaddrinfo", look_up)
    usual = settings_in(tmp_path, destination=parse_destination("A@pacs.example:104"))
    addresses = ("127.0.0.1", "::1", "::ffff:10.1.0.5", "10.1.0.5", "10.1.0.6")
    assert [is_allowed(one, usual) for one in addresses] == [True, True, True, True, False]
    unknown = settings_in(tmp_path, destination=parse_destination("A@unknown.example:104"))
    assert not is_allowed("10.1.0.5", unknown)
    networks = settings_in(tmp_path, allow_address=parse_networks(["10.1.0.0/16", ""]))
    assert [is_allowed(one, networks) for one in addresses] == [False, False, True, True, True]


def test_addresses_of_studies():
    assert dicomweb_study.is_url("https://host/dicom-web/studies/1.2")
    assert not dicomweb_study.is_url("hand.png")
    with pytest.raises(InputError, match="not the address of a study"):
        dicomweb_study.retrieve("https://host/dicom-web")
    with pytest.raises(InputError, match="does not answer"):
        dicomweb_study.retrieve("http://127.0.0.1:9/dicom-web/studies/1.2.3")


def test_the_parts_import_without_the_extra():
    statement = "import sys; sys.modules['pynetdicom'] = None; import bone_age_tf.commands.node"
    subprocess.run([sys.executable, "-c", statement], check=True)


def test_the_how_to_shows_the_script_that_is_tried(root):
    page = (root / "docs/guides/node.md").read_text()
    kit = root / "exports/serving/node"
    script = (kit / "orthanc_forward.lua").read_text()
    (shown,) = re.findall(r"```lua\n(.*?)```", page, re.DOTALL)
    assert script.endswith(shown)
    config = json.loads((kit / "orthanc.json").read_text())
    (entries,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    in_use = json.loads(f"{{{entries}}}")
    assert in_use["DicomModalities"] == config["DicomModalities"]
    assert in_use["JobsHistorySize"] == config["JobsHistorySize"]
    assert f"ORTHANC@127.0.0.1:{config['DicomPort']}" in page


def test_the_metrics_and_flags_of_the_runbook_exist(root, capsys):
    page = (root / "docs/guides/node.md").read_text()
    (table,) = re.findall(r"\| metric \| alarm \|\n(.*?)\n\n", page, re.DOTALL)
    names = [name for row in table.splitlines()[1:] for name in re.findall(r"`(\w+)", row)]
    assert {*names} - {"reason", "cause"} <= {*METRICS}
    main(["node", "--help"])
    known = re.findall(r"^  --(\w+)", capsys.readouterr().out, re.MULTILINE)
    elsewhere = {"mode", "no"}
    assert {*re.findall(r"`--(\w+)", page)} - elsewhere <= {*known}


def test_container_and_service_start_the_node_as_its_flags_are(root):
    kit = root / "exports/serving/node"
    service = yaml.safe_load((kit / "docker-compose.yml").read_text())["services"]["bone-age-node"]
    unit = (kit / "bone-age-node.service").read_text().replace("\\\n", " ")
    (started,) = re.findall(r"^ExecStart=\S+ (.*)$", unit, re.MULTILINE)
    recipe = (kit / "Containerfile").read_text()
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", recipe, re.MULTILINE)
    for arguments in (started.split(), json.loads(entry)[1:] + service["command"]):
        values = flags.FlagValues()
        node.define_flags(values)
        values(["bone-age", *arguments[1:]])
        assert arguments[0] == "--mode=node"
        settings = node.make_settings(values)
        assert settings.destination.label == "PACS@pacs.example:104"
        assert settings.spool.is_absolute()
        assert str(settings.health_port) in recipe
    assert service["user"] in recipe
