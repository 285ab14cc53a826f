import importlib

import numpy as np
import pytest

from bone_age_tf import schema


@pytest.mark.parametrize(("text", "code"), [("female", 0), (" F ", 0), ("Male", 1), ("m", 1)])
def test_sex_is_read_in_any_case(text, code):
    assert schema.parse_sex(text) == code
    assert schema.SEX_NAMES[code][0] == text.strip().lower()[0]


@pytest.mark.parametrize("text", ["", "x", "0", "1", "girl", "nan"])
def test_other_words_for_sex_are_refused_by_name(text):
    with pytest.raises(ValueError, match="female or male") as error:
        schema.parse_sex(text)
    assert repr(text) in str(error.value)


def test_ages_are_positive_and_at_most_twenty_years():
    assert schema.parse_age_months("120") == 120.0
    assert schema.parse_age_months(240) == 240.0
    for bad in ("0", "-3", "240.1", "nan", "inf", "twelve"):
        with pytest.raises(ValueError, match="months"):
            schema.parse_age_months(bad)


@pytest.mark.parametrize("name", ["hand_phantom", "radiograph_folder", "rsna_bone_age"])
def test_every_builder_declares_the_features_of_the_schema(name, tmp_path):
    module = importlib.import_module(f"bone_age_datasets.{name}.{name}_dataset_builder")
    features = module.Builder(data_dir=tmp_path).info.features
    assert set(schema.FEATURES) <= set(features)
    assert features["image"].shape == (None, None, 1)
    assert np.dtype(features["image"].np_dtype) == np.uint8
    assert tuple(features["sex"].names) == schema.SEX_NAMES
    assert np.dtype(features["age_months"].np_dtype) == np.float32
