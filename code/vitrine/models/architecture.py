"""What is known of a classifier before it is loaded, and how a checkpoint is read."""

import hashlib
import importlib
from collections.abc import Callable, KeysView, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

from vitrine.data.concepts import training_classes
from vitrine.data.safe_pickle import why_refused
from vitrine.errors import SourceError, StudyError, VitrineError
from vitrine.models.classifier import Description
from vitrine.project import Project

_WRAPPERS = ("state_dict", "model_state_dict", "model")


def fitted(checkpoint: dict[str, Any], keys: KeysView[str]) -> dict[str, Tensor]:
    """A network's state from a checkpoint: out of its wrapper, without a prefix of all keys."""
    tensors: Any = checkpoint
    while wrapper := next((key for key in _WRAPPERS if isinstance(tensors.get(key), dict)), None):
        tensors = tensors[wrapper]
    while not keys & tensors.keys() and len({key.partition(".")[0] for key in tensors}) == 1:
        shorter = {key.partition(".")[2]: value for key, value in tensors.items()}
        if "" in shorter:
            break
        tensors = shorter
    return dict(tensors)


@dataclass(frozen=True, kw_only=True)
class Architecture(Description):
    """A row of ``CLASSIFIERS``, with another title than each other row.

    trained : makes the trained network where there is no such file.
    weights_file : brings the file of the trained parameters and verifies it.
    convert : turns that file's tensors into the network's own state, whose keys it is told.
    channels : how many feature maps the layer ``last_convolution`` has.
    identity : what results depend on beside the parameters, where the package does not hold it.
    """

    build: Callable[[], nn.Module]
    weights_file: Callable[[Project], Path]
    categories: Callable[[Project], tuple[str, ...]]
    channels: int
    convert: Callable[[dict[str, Any], KeysView[str]], dict[str, Tensor]] = fitted
    trained: Callable[[], nn.Module] | None = None
    identity: str = ""

    def bring(self, project: Project) -> str:
        """Bring the trained parameters; what they are called.

        Raises ``SourceError``, and ``StudyError`` for a network whose library cannot make it.
        """
        if self.trained is None:
            return self.weights_file(project).name
        tried(self.trained, self.title)
        return self.title


def tried(make: Callable[[], Any], title: str) -> nn.Module:
    """The network that a function makes, in ``eval`` mode. Raises ``StudyError``."""
    try:
        network = make()
    except VitrineError:
        raise
    except (Exception, SystemExit) as error:
        raise StudyError(
            f"{title} cannot be built: {type(error).__name__} ({first_line(error)})",
            "Name a function that takes no arguments and returns a torch.nn.Module; where weights "
            "are to be downloaded and cannot, name a file with `weights`",
        ) from error
    return checked_module(network, f"{title} gives").eval().requires_grad_(False)


def checked_module(given: Any, said: str) -> nn.Module:
    """What somebody hands over, if it is a network whose layers can be seen and exchanged.

    said : how the sentence about anything else begins. Raises ``StudyError``.
    """
    if not isinstance(given, nn.Module):
        kind = (
            f"the class {given.__name__}"
            if isinstance(given, type)
            else f"an object of type {type(given).__name__}"
        )
        raise StudyError(f"{said} {kind} and no torch.nn.Module", "Return the network")
    if isinstance(given, torch.jit.ScriptModule):
        raise StudyError(
            f"{said} a network compiled by TorchScript, whose layers cannot be looked into",
            "Give the network that it was compiled from",
        )
    return given


def packaged(package: str, locate: Callable[[Any], Path], digest: str) -> Path:
    """The file of weights that a package carries. Raises ``SourceError``.

    locate : finds it in the package's module. digest : its SHA-256.
    """
    try:
        path = locate(importlib.import_module(package.replace("-", "_")))
    except ModuleNotFoundError as error:
        raise SourceError(
            f"The package {package} is not installed", "Install the project with its extra `study`"
        ) from error
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != digest:
        raise SourceError(
            f"The weights in the package {package} are not those we know",
            "Install it again, in the version that requirements.txt pins",
        )
    return path


def digest_of(state: Mapping[str, Tensor], identity: str = "") -> str:
    """The SHA-256 of a text and of tensors, with their names, in their order."""
    digest = hashlib.sha256(identity.encode())
    for key, value in state.items():
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint as plain tensors and containers; whatever would run code is refused.

    Checkpoints of old Python versions are read too (their byte strings become text). Raises
    ``SourceError``.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise SourceError(
            f"The checkpoint {path} cannot be read as plain tensors: {why_refused(error)}",
            "Fetch it again, or save network.state_dict() alone; a file that runs code is refused",
        ) from error
    if not isinstance(checkpoint, dict):
        raise SourceError(
            f"The checkpoint {path} holds no table of tensors",
            "Delete it and fetch it again, or name a file of weights",
        )
    return checkpoint


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, or its name if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def imagenet_categories(_project: Project) -> tuple[str, ...]:
    """The names of ImageNet's classes, in the order of their WordNet ids."""
    return tuple(torchvision.models.ResNet50_Weights.IMAGENET1K_V2.meta["categories"])


def places_categories(project: Project) -> tuple[str, ...]:
    """The names of the categories of Places365, in their order."""
    return training_classes(project, "Places365")
