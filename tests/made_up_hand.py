"""The joints of a plain left hand, for tests of where a hand lies."""

import math

import numpy as np

from bone_age_tf import schema

PALM = 80.0


def made_up_hand():
    """Places [17, 2] of a plain upright left hand, in pixels, with a palm of 80."""
    rays = {2: (18, 14, 1.04), 3: (0, 2, 1.0), 4: (-16, -10, 0.95), 5: (-33, -28, 0.93)}
    lengths = {2: (0.56, 0.31), 3: (0.62, 0.37), 4: (0.58, 0.35), 5: (0.44, 0.26)}
    found = {"wrist": (0, 0), "radius": (0.02, -0.33), "ulna": (-0.32, -0.36)}
    for finger, (start, lean, metacarpal) in rays.items():
        place = np.array([0.0, 0.0])
        steps = zip(
            ("MCP", "PIP", "DIP"), (start, lean, lean), (metacarpal, *lengths[finger]), strict=True
        )
        for joint, degrees, length in steps:
            turn = math.radians(degrees)
            place = place + length * np.array([math.sin(turn), math.cos(turn)])
            found[f"{joint}{finger}"] = place
    found["MCP1"] = 0.88 * np.array([math.sin(0.94), math.cos(0.94)])
    found["PIP1"] = found["MCP1"] + 0.41 * np.array([math.sin(0.6), math.cos(0.6)])
    upright = np.array([found[name] for name in schema.REGIONS])
    return np.array([150.0, 260.0]) + PALM * upright * [1, -1]
