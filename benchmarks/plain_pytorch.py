"""EfficientNet-Lite0 and ResNet-18 as this project builds them, in PyTorch alone."""

from torch import nn

from bone_age_tf.models.efficientnet_lite import STAGES, STEM_FILTERS, TOP_FILTERS

BINS = 120


def convolve(inputs: int, outputs: int, kernel: int, stride: int, act, groups: int = 1):
    """Returns convolution, batch norm and activation."""
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([act] if act else []))


class InvertedResidual(nn.Module):
    """The block of EfficientNet-Lite."""

    def __init__(self, inputs, outputs, kernel, stride, expansion):
        super().__init__()
        wide, act = inputs * expansion, nn.ReLU6(inplace=True)
        layers = [convolve(inputs, wide, 1, 1, act)] if expansion > 1 else []
        layers += [
            convolve(wide, wide, kernel, stride, act, wide),
            convolve(wide, outputs, 1, 1, None),
        ]
        self.layers, self.added = nn.Sequential(*layers), stride == 1 and inputs == outputs

    def forward(self, x):
        """Maps [B, C, H, W] to the block's output."""
        return x + self.layers(x) if self.added else self.layers(x)


class Residual(nn.Module):
    """The basic block of ResNet-18."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        act = nn.ReLU(inplace=True)
        self.layers = nn.Sequential(
            convolve(inputs, outputs, 3, stride, act), convolve(outputs, outputs, 3, 1, None)
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else convolve(inputs, outputs, 1, stride, None)
        self.act = act

    def forward(self, x):
        """Maps [B, C, H, W] to the block's output."""
        return self.act(self.layers(x) + self.shortcut(x))


def head(features: int):
    """Returns pooling and the layers to the age bins."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(features, 256),
        nn.ReLU(),
        nn.Linear(256, BINS),
    )


def efficientnet_lite0():
    """Returns EfficientNet-Lite0."""
    act, filters = nn.ReLU6(inplace=True), STEM_FILTERS
    layers = [convolve(3, filters, 3, 2, act)]
    for repeats, kernel, stride, expansion, outputs in STAGES:
        for place in range(repeats):
            step = stride if place == 0 else 1
            layers.append(InvertedResidual(filters, outputs, kernel, step, expansion))
            filters = outputs
    return nn.Sequential(*layers, convolve(filters, TOP_FILTERS, 1, 1, act), head(TOP_FILTERS))


def resnet18():
    """Returns ResNet-18."""
    layers = [convolve(3, 64, 7, 2, nn.ReLU(inplace=True)), nn.MaxPool2d(3, 2, 1)]
    filters = 64
    for outputs in (64, 128, 256, 512):
        for place in range(2):
            stride = 2 if place == 0 and outputs > 64 else 1
            layers.append(Residual(filters, outputs, stride))
            filters = outputs
    return nn.Sequential(*layers, head(512))


NETWORKS = {"efficientnet_lite0": efficientnet_lite0, "resnet18": resnet18}
