"""The files of exports/serving, read as the server and Kubernetes read them."""

import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow_serving.config import model_server_config_pb2


def test_models_config_is_what_the_server_reads(root):
    text = (root / "exports/serving/models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.model_platform) == ("bone_age", "tensorflow")
    assert set(model.version_labels) == {"stable", "canary"}
    served_versions = list(model.model_version_policy.specific.versions)
    assert set(model.version_labels.values()) <= set(served_versions)


def test_batching_and_monitoring_are_what_the_server_reads(root):
    """Field by field, since their definitions are not among the official Python ones."""
    batching = parsed(
        root / "exports/serving/batching.config",
        {
            "max_batch_size": 1,
            "batch_timeout_micros": 2,
            "max_enqueued_batches": 3,
            "num_batch_threads": 4,
        },
        {"allowed_batch_sizes": 6},
    )
    sizes = list(batching.allowed_batch_sizes)
    assert sizes == sorted(sizes)
    assert sizes[-1] == batching.max_batch_size.value
    assert batching.num_batch_threads.value >= 1
    text = (root / "exports/serving/monitoring.config").read_text()
    compose = yaml.safe_load((root / "exports/serving/docker-compose.yml").read_text())
    assert (
        "--monitoring_config_file=/config/monitoring.config"
        in (compose["services"]["bone-age"]["command"])
    )
    assert 'path: "/monitoring/prometheus/metrics"' in text


def parsed(path, wrapped, repeated):
    """Parses text by a message that is built here, of Int64Value and repeated int64."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="session_bundle_config.proto", package="t", syntax="proto3"
    )
    value = file.message_type.add(name="Int64Value")
    value.field.add(name="value", number=1, label=field.LABEL_OPTIONAL, type=field.TYPE_INT64)
    message = file.message_type.add(name="BatchingParameters")
    for name, number in wrapped.items():
        message.field.add(
            name=name,
            number=number,
            label=field.LABEL_OPTIONAL,
            type=field.TYPE_MESSAGE,
            type_name=".t.Int64Value",
        )
    for name, number in repeated.items():
        message.field.add(
            name=name, number=number, label=field.LABEL_REPEATED, type=field.TYPE_INT64
        )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.BatchingParameters"))
    return text_format.Parse(path.read_text(), kind())


def manifests(root):
    folder = root / "exports/serving"
    paths = [*sorted((folder / "kubernetes").glob("*.yaml")), folder / "kserve.yaml"]
    found = [one for path in paths for one in yaml.safe_load_all(path.read_text())]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def test_pods_may_do_little_and_are_watched(root):
    found = manifests(root)
    pod = found["Deployment", "bone-age"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    knative = found["InferenceService", "bone-age"]["spec"]["predictor"]
    for spec, one in ((pod, container), (knative, knative["model"])):
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] > 0
        assert one["securityContext"]["readOnlyRootFilesystem"]
        assert not one["securityContext"]["allowPrivilegeEscalation"]
        assert one["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert {"cpu", "memory"} <= set(one["resources"]["limits"])
        assert not spec["automountServiceAccountToken"]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
    scaler = found["HorizontalPodAutoscaler", "bone-age"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == "bone-age"
    assert 1 < scaler["minReplicas"] < scaler["maxReplicas"]
    labels = found["Deployment", "bone-age"]["spec"]["template"]["metadata"]["labels"]
    for kind, name in (("Service", "bone-age"), ("Service", "bone-age-rest")):
        assert found[kind, name]["spec"]["selector"] == labels
    assert found["NetworkPolicy", "bone-age"]["spec"]["egress"] == []


def test_the_kit_names_files_that_are_there(root):
    folder = root / "exports/serving"
    kit = yaml.safe_load((folder / "kustomization.yaml").read_text())
    files = [*kit["resources"], *kit["configMapGenerator"][0]["files"]]
    service = yaml.safe_load((folder / "docker-compose.yml").read_text())["services"]["bone-age"]
    files += [volume.split(":")[0] for volume in service["volumes"] if "config" in volume]
    assert all((folder / name).is_file() for name in files)
    assert service["read_only"] and service["user"] != "root"
    container = manifests(root)["Deployment", "bone-age"]["spec"]["template"]["spec"]["containers"]
    assert container[0]["args"] == service["command"]
    mounted = [flag.partition("=/config/")[2] for flag in service["command"] if "/config/" in flag]
    assert set(mounted) == set(kit["configMapGenerator"][0]["files"])
