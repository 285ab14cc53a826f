import keras
import numpy as np
import pytest
from PIL import Image

from bone_age_tf.explain import grad_cam
from bone_age_tf.models.build import build_model


def cases(count=4):
    rng = np.random.default_rng(0)
    return [
        grad_cam.ExplainedCase(
            f"case_{i}",
            rng.uniform(0, 255, (32, 32, 1)).astype(np.float32),
            i % 2,
            100.0 + i,
            90.0,
        )
        for i in range(count)
    ]


def test_chosen_cases_span_ages_of_both_sexes():
    sex = np.array([0, 1] * 50)
    age = np.arange(100, dtype=np.float32)
    chosen = grad_cam.choose_cases(sex, age)
    assert len(set(chosen)) == 8
    assert [int(sex[i]) for i in chosen] == [0] * 4 + [1] * 4
    assert age[chosen].min() == 0
    assert age[chosen].max() == 99
    assert grad_cam.choose_cases(sex, age) == chosen


def test_few_cases_of_one_sex_are_still_chosen():
    assert sorted(grad_cam.choose_cases(np.ones(3, int), np.array([3.0, 1.0, 2.0]))) == [0, 1, 2]
    assert len(grad_cam.choose_cases(np.array([0] + [1] * 20), np.arange(21.0))) == 8


@pytest.mark.parametrize("head", ["distribution", "regression"])
def test_maps_are_finite_and_not_constant(tiny_config, head):
    keras.utils.set_random_seed(0)
    tiny_config.head = head
    found = grad_cam.grad_cam_maps(build_model(tiny_config), tiny_config, cases())
    assert len(found) == 4
    for heat in found:
        assert heat.shape == (32, 32)
        assert np.isfinite(heat).all()
        assert 0 <= heat.min() <= heat.max() <= 1
    assert max(np.ptp(heat) for heat in found) == pytest.approx(1, abs=1e-3)


def test_the_map_points_at_the_only_thing_there_is(tiny_config):
    """A network whose features are brightness must be explained by the bright spot."""
    model = build_model(tiny_config)
    for name in ("conv1", "conv2"):
        layer = model.get_layer(name)
        kernel = np.zeros_like(layer.get_weights()[0])
        kernel[1, 1] = 1.0
        layer.set_weights([kernel, np.zeros_like(layer.get_weights()[1])])
    head = model.get_layer("head_dense")
    head.set_weights([np.abs(w) for w in head.get_weights()])
    logits = model.get_layer("age_logits")
    kernel, bias = logits.get_weights()
    kernel[:] = 0
    kernel[:, -1] = 1
    logits.set_weights([kernel, bias])
    image = np.full((32, 32, 1), 40, np.float32)
    image[20:28, 4:12] = 250
    case = grad_cam.ExplainedCase("spot", image, 0, 100.0, 100.0)
    (heat,) = grad_cam.grad_cam_maps(model, tiny_config, [case])
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert 18 <= y < 30
    assert 2 <= x < 14


def test_overlays_are_pictures(tmp_path):
    maps = [np.tile(np.linspace(0, 1, 32), (32, 1)) for _ in range(2)]
    paths = grad_cam.draw_overlays(cases(2), maps, tmp_path / "explanations")
    assert [path.name for path in paths] == ["grad_cam_1.png", "grad_cam_2.png"]
    pixels = np.asarray(Image.open(paths[0]).convert("RGB"))
    assert pixels.shape[0] > 300
    assert pixels.std() > 10
