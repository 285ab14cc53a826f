"""Status and reason of a SavedModel for cases that the network has answered."""

import tensorflow as tf

from bone_age_tf import schema
from bone_age_tf.export.answers import with_status
from bone_age_tf.reasons import REASON, STATUS
from bone_age_tf.regions.graph import FRAMED, WHOLE


def test_the_limit_of_the_distance_is_lower_for_a_radiograph_read_as_a_whole():
    cases = 4
    zeros, no = tf.zeros([cases], tf.int32), tf.zeros([cases], tf.bool)
    checked = dict.fromkeys(("reason", "width", "height", "pose", "tilt", "other"), zeros)
    checked |= dict.fromkeys(("trimmed", "inverted", "wide"), no)
    checked["framing"] = tf.constant([FRAMED, WHOLE, WHOLE, FRAMED])
    distances = tf.constant([[0.9], [0.9], [0.5], [1.2]])
    outputs = {schema.AGE_MONTHS: tf.ones([cases, 1]), schema.UNFAMILIARITY: distances}
    found = with_status(checked, tf.zeros([cases, 1]), outputs)
    assert found[STATUS].numpy().tolist() == [b"ok", b"rejected", b"ok", b"rejected"]
    assert b"(distance 0.90, limit 0.67)" in found[REASON].numpy()[1]
    assert b"(distance 1.20, limit 1.00)" in found[REASON].numpy()[3]
