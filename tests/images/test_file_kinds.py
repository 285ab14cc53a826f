import pytest

from bone_age_tf.images.file_kinds import OTHER_KINDS, describe_kind


def example(place, mark):
    return b"\x07" * place + mark.encode("latin-1") + bytes(200)


FILES = [example(place, mark) for place, mark, _ in OTHER_KINDS]


@pytest.mark.parametrize(("data", "kind"), zip(FILES, OTHER_KINDS, strict=True))
def test_a_kind_is_named_with_its_remedy(data, kind):
    assert describe_kind(data) == f" but {kind[2]}"
    assert describe_kind(data[:140]) == f" but {kind[2]}"


@pytest.mark.parametrize("data", [b"", b"B", b"hello", bytes(131), b"\xff" * 300])
def test_other_bytes_are_no_kind(data):
    assert describe_kind(data) == ""


def test_a_server_names_the_same_kinds():
    import tensorflow as tf

    from bone_age_tf.quality.graph import other_kind

    files = [*FILES, b"", b"B", b"\xff" * 300]
    expected = [*range(len(FILES)), -1, -1, -1]
    assert other_kind(tf.constant(files)).numpy().tolist() == expected
