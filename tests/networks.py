"""Small networks of the kinds that people cut, for the tests of split: name -> (factory, shape of one sample)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from privet.models import BUILT_IN


class Recurrent(nn.Module):
    """A sequence classifier: the cell returns several tensors, of which one or another is used."""

    def __init__(self, cell: type[nn.RNNBase], use: str) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 8)
        self.cell = cell(8, 8, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)
        self.use = use

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out, state = self.cell(self.embed(x))
        last = out[:, -1] if self.use == "outputs" else state[-1]
        return self.head(self.norm(last))


class Transformer(nn.Module):
    """An encoder of two layers and a linear head over the mean token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.embed(x)).mean(1))


class ControlFlow(nn.Module):
    """Python decides on the shape of a tensor, which symbolic tracing cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.act = nn.ReLU(inplace=True)
        self.wide = nn.Linear(8, 8)
        self.narrow = nn.Linear(6, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.act(self.first(x))
        z = self.wide(z) if z.shape[-1] > 6 else self.narrow(z)
        return self.head(z)


class SizesCross(nn.Module):
    """The batch and the height of the input are read again after the cut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, _, h, w = x.shape
        z = self.conv(x)
        tokens = z.reshape(b, 4, h * w).transpose(1, 2)
        return self.head(torch.cat([self.token.expand(b, -1, -1), tokens], dim=1).mean(1))


class FunctionalModes(nn.Module):
    """Dropout as a function: its mode is an argument."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 64)
        self.second = nn.Linear(64, 64)
        self.head = nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = F.dropout(self.first(x), 0.5, training=self.training)
        return self.head(F.dropout(self.second(z), 0.5, self.training))


class HiddenWrite(nn.Module):
    """The activation's result is dropped; its effect on `z` is not."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.first(x)
        self.act(z)
        return self.head(z)


class AddsInPlace(nn.Module):
    """The first thing after `first` is to write into its output, by method and by operator."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.second = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.first(x).clamp_(min=0)
        y = self.second(z)
        y += 1
        return self.head(y)


class MasksWeights(nn.Module):
    """Computes with parameters alone, which must stay trainable; its layers stand in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 8), nn.Linear(8, 8)])
        self.gain = nn.Parameter(torch.rand(8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.head(x * (self.gain * self.gain))


class Twice(nn.Module):
    """One module called twice, one never, one after the output of another was kept."""

    def __init__(self) -> None:
        super().__init__()
        self.never = nn.Linear(6, 6)
        self.again = nn.Linear(6, 6)
        self.side = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = self.again(x)
        return self.head(self.side(torch.relu(kept)) + self.again(kept))


class SequenceFirst(nn.Module):
    """Inside, time comes before the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.cell = nn.GRU(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(self.first(x).transpose(0, 1))[0][-1])


class Windows(nn.Module):
    """Inside, the windows of all samples stand in one row, as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(40, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.inner(self.first(x).reshape(-1, 8)).reshape(-1, 40))


def raw() -> nn.Module:
    """Reshapes first and last: neither is a cut."""
    first, *last = nn.Flatten(), nn.Unflatten(1, (3, 1)), nn.Flatten()
    return nn.Sequential(first, nn.Dropout(0.5), nn.Linear(64, 8), nn.Identity(), nn.ReLU(), nn.Linear(8, 3), *last)


def _torchvision(name: str) -> nn.Module:
    from torchvision.models import densenet, mobilenetv2, resnet, vgg, vision_transformer

    if name == "vgg11":
        with torch.device("meta"):  # its linear layers are large, and are replaced
            model = vgg.VGG(nn.Sequential(), init_weights=False)
        model.features = vgg.make_layers([8, "M", 16, "M", 16, 16, "M", 32, 32, "M", 32, 32, "M"])
        model.classifier[0] = nn.Linear(32 * 49, 32)
        model.classifier[3] = nn.Linear(32, 32)
        model.classifier[6] = nn.Linear(32, 3)
        return model
    made: dict[str, Callable[[], nn.Module]] = {
        "resnet18": lambda: resnet.ResNet(resnet.BasicBlock, [2, 1, 1, 1], 3),
        "densenet121": lambda: densenet.DenseNet(4, (2, 2, 1), 8, num_classes=3, drop_rate=0.1),
        "mobilenet_v2": lambda: mobilenetv2.MobileNetV2(3, 0.25, [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 1, 2]]),
        "vit": lambda: vision_transformer.VisionTransformer(16, 8, 2, 2, 16, 32, num_classes=3),
    }
    return made[name]()


def _timm_vit() -> nn.Module:
    from timm.models import vision_transformer

    return vision_transformer.VisionTransformer(16, 8, num_classes=3, embed_dim=16, depth=2, num_heads=2)


BUILT_IN_SHAPES = {"cnn3": (3, 9, 8), "mlp": (12,), "vgg": (1, 8, 8), "resnet18": (2, 8, 8), "vit": (3, 8, 8)}
TORCHVISION = {"vgg11": (3, 32, 32), "resnet18": (3, 32, 32), "densenet121": (3, 32, 32), "mobilenet_v2": (3, 32, 32)}

FACTORIES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    **{name: (partial(BUILT_IN[name], shape=shape, classes=3), shape) for name, shape in BUILT_IN_SHAPES.items()},
    **{f"torchvision_{n}": (partial(_torchvision, n), s) for n, s in (TORCHVISION | {"vit": (3, 16, 16)}).items()},
    "timm_vit": (_timm_vit, (3, 16, 16)),
    "lstm": (partial(Recurrent, nn.LSTM, "outputs"), (5, 6)),
    "gru": (partial(Recurrent, nn.GRU, "state"), (5, 6)),
    "sequence_first": (SequenceFirst, (5, 6)),
    "windows": (Windows, (5, 6)),
    "transformer": (Transformer, (5, 6)),
    "control_flow": (ControlFlow, (6,)),
    "sizes_cross": (SizesCross, (1, 4, 5)),
    "functional_modes": (FunctionalModes, (6,)),
    "hidden_write": (HiddenWrite, (6,)),
    "adds_in_place": (AddsInPlace, (6,)),
    "masks_weights": (MasksWeights, (6,)),
    "twice": (Twice, (6,)),
    "raw": (raw, (1, 8, 8)),
}
EXPORT_ONLY = ("control_flow", "hidden_write")
