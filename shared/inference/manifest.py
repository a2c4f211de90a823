"""`model.yaml`: what a model package says about its network, checked as far as text allows."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from shared.inference.evidence import Evidence

MANIFEST_NAME = "model.yaml"
MAX_MANIFEST_BYTES = 256 * 1024
_MAX_YAML_DEPTH = 32
_MAX_SIDE_PX = 8192
_PLAIN_TAGS = frozenset({"null", "bool", "int", "float", "str", "seq", "map"})
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")

#: The error type that stands for "a package without test vectors", told apart from other faults.
NO_TEST_VECTORS = "no_test_vectors"


class ManifestInvalid(ValueError):
    """`model.yaml` cannot be read; `faults` says where and why, one line each."""

    def __init__(self, faults: tuple[str, ...], *, lacks_vectors: bool = False) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults
        self.lacks_vectors = lacks_vectors


def is_inside_folder(name: str) -> bool:
    """Whether `name` is a plain relative path that stays in the folder it is resolved in."""
    parts = name.split("/")
    return (
        len(name) <= 255
        and name == str(PurePosixPath(name))
        and all(_NAME.fullmatch(part) and ".." not in part for part in parts)
    )


def _inside_folder(name: str) -> str:
    if not is_inside_folder(name):
        raise PydanticCustomError(
            "unsafe_path",
            "must be a relative path of letters, digits, '.', '_' and '-' inside the package",
        )
    return name


def _quoted_version(version: object) -> object:
    if isinstance(version, int | float):
        raise PydanticCustomError("unquoted", 'write the version in quotes, as in version: "1.0"')
    return version


FileName = Annotated[str, AfterValidator(_inside_folder)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1, max_length=8000)]
TensorName = Annotated[str, Field(min_length=1, max_length=200)]
Side = Annotated[int, Field(ge=1, le=_MAX_SIDE_PX)]
Task = Literal["image-classification", "multi-label", "segmentation", "detection", "regression"]


class _Part(BaseModel):
    """A frozen part of a manifest that knows all of its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(_Part):
    """How a picture becomes the network's input: `((x * scale) - mean) / std`, x from 0 to 255."""

    name: TensorName
    layout: Literal["NCHW"] = "NCHW"
    colour: Literal["RGB", "BGR", "GRAY"]
    size: tuple[Side, Side]
    """Height and width in pixels."""
    resize: Literal["stretch", "fit", "crop"] = "stretch"
    """`stretch` to the size; `fit` inside it and pad with the mean; `crop` the centre."""
    equalise: bool = False
    """Whether the histogram is equalised first, as a few published networks were trained."""
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    mean: tuple[Finite, ...]
    std: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...]
    mpp_um: Annotated[float, Field(gt=0.01, le=1000, allow_inf_nan=False)] | None = None
    """Micrometres per pixel of what a microscope saw; slides are read so."""

    @property
    def channels(self) -> int:
        """How many channels the network reads."""
        return 1 if self.colour == "GRAY" else 3

    @model_validator(mode="after")
    def _one_figure_per_channel(self) -> Self:
        for name, figures in (("mean", self.mean), ("std", self.std)):
            if len(figures) != self.channels:
                raise ValueError(
                    f"{name} has {len(figures)} figures, {self.colour} needs {self.channels}"
                )
        return self


class OutputSpec(_Part):
    """What the network's answer means."""

    name: TensorName
    activation: Literal["sigmoid", "softmax", "none"]
    labels: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = Field(
        min_length=1, max_length=10_000
    )
    positive: str | None = None
    """The label whose probability is the answer of a binary task."""

    @model_validator(mode="after")
    def _labels_are_a_set(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels name one thing twice")
        if self.positive is not None and self.positive not in self.labels:
            raise ValueError(f"positive names {self.positive!r}, which is not among the labels")
        return self


class RawOutput(_Part):
    """A further output, which the service that uses the network decodes itself."""

    name: TensorName
    shape: tuple[Annotated[int, Field(ge=1)], ...] = Field(max_length=8)
    """For one picture of `input.size`, the first axis being that of the batch."""
    meaning: Text


class Batch(_Part):
    """How many pictures the network may be given at once."""

    max: Annotated[int, Field(ge=1, le=1024)]
    """The most in one run; 1 for a network whose answers depend on a picture's neighbours."""


class Calibration(_Part):
    """How logits become calibrated probabilities: `temperature` divides them by `value`."""

    method: Literal["temperature"]
    value: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Explain(_Part):
    """Outputs that say where the network looked."""

    features: TensorName
    """A feature map, `(N, C, h, w)`."""
    maps: TensorName | None = None
    """Class activation maps, `(N, labels, h, w)`."""


class TestVector(_Part):
    """A picture and what the network must answer to it, before calibration.

    Of an output too large to write down, `samples` holds figures from evenly spaced places.
    """

    __test__ = False  # Not a test case, whatever pytest reads into the name.

    input: FileName
    output: tuple[Finite, ...] = Field(default=(), max_length=100_000)
    """All figures of `output.name`, after the activation."""
    samples: Mapping[
        TensorName, Annotated[tuple[Finite, ...], Field(min_length=1, max_length=10_000)]
    ] = Field(default_factory=dict, max_length=100)
    """Per output some of its figures, without activation: the first, the last, and as many at
    even distances between them as there are, in the order of memory."""
    tolerance: Annotated[float, Field(gt=0, le=0.1)]
    sha256: Sha256 | None = None
    """The hash of the picture's file."""

    @model_validator(mode="after")
    def _states_an_answer(self) -> Self:
        if not self.output and not self.samples:
            raise ValueError("neither output nor samples say what must come out")
        return self


VariantKind = Literal["fp16", "int8", "graphs", "fp16-graphs"]
"""16 or 8 bits instead of 32, and CUDA graphs: a GPU's kernels recorded once and replayed."""


class Variant(_Part):
    """How a package was made from another one, to run faster on the machine that made it."""

    kind: VariantKind
    of: Sha256
    """The hash of the network it was made from."""
    deviation: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """The largest difference of an answer that was found."""
    tolerance: Annotated[float, Field(gt=0, le=0.1)]
    """The largest difference that was allowed."""
    speedup: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """How many times as many pictures per second."""
    measured_on: Text

    @property
    def replays(self) -> bool:
        """Whether a GPU records the network's runs and replays them."""
        return self.kind.endswith("graphs")


class Measured(_Part):
    """One accuracy figure, and what it was measured on."""

    dataset: Text
    split: Text
    n: Annotated[int, Field(ge=1)]
    metric: Annotated[str, Field(min_length=1, max_length=60)]
    value: Finite
    interval: tuple[Finite, Finite] | None = None
    """The 95 % confidence interval."""
    label: str | None = None
    """The label it speaks of; without one, all of them."""
    note: Text | None = None

    @model_validator(mode="after")
    def _interval_is_in_order(self) -> Self:
        if self.interval is not None and self.interval[0] > self.interval[1]:
            raise ValueError("interval runs backwards")
        return self


class Card(_Part):
    """What a person should know before trusting the network."""

    trained_on: Text
    measured: tuple[Measured, ...] = ()
    intended_use: Text
    limits: Text


class Manifest(_Part):
    """The whole of `model.yaml`."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$", max_length=64)]
    version: Annotated[
        str,
        Field(pattern=r"^[0-9A-Za-z]+([._+-][0-9A-Za-z]+)*$", max_length=32),
        BeforeValidator(_quoted_version),
    ]
    task: Task
    evidence: Evidence
    licence: Annotated[str, Field(min_length=1, max_length=200)]
    source: Text
    file: FileName = "model.onnx"
    sha256: Sha256
    input: InputSpec
    output: OutputSpec
    raw_outputs: tuple[RawOutput, ...] = Field(default=(), max_length=100)
    operating_points: Mapping[str, Fraction] = Field(default_factory=dict)
    calibration: Calibration | None = None
    explain: Explain | None = None
    gate: Literal["he-patch"] | None = None
    """The rules that a picture has to pass first: a patch stained with haematoxylin and eosin."""
    test_vectors: tuple[TestVector, ...] = Field(default=(), max_length=100)
    variant: Variant | None = None
    batch: Batch | None = None
    card: Card

    @property
    def batch_limit(self) -> int | None:
        """The most pictures in one run; None where the engine may choose."""
        return None if self.batch is None else self.batch.max

    @property
    def labels(self) -> tuple[str, ...]:
        """The output's labels, in the network's order."""
        return self.output.labels

    @property
    def name(self) -> str:
        """`id@version`, as answers name the model."""
        return f"{self.id}@{self.version}"

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        unknown = sorted(set(self.operating_points) - set(self.labels))
        if unknown:
            raise ValueError(f"operating_points names {unknown[0]!r}, which is not a label")
        named = [self.output.name, *(raw.name for raw in self.raw_outputs)]
        if len(set(named)) != len(named):
            raise ValueError("output and raw_outputs name one output twice")
        for vector in self.test_vectors:
            stray = sorted(set(vector.samples) - set(named))
            if stray:
                raise ValueError(f"a test vector samples {stray[0]!r}, which is no named output")
        if not self.test_vectors:
            raise PydanticCustomError(NO_TEST_VECTORS, "test_vectors: at least one is needed")
        if self.evidence is Evidence.VALIDATED and not self.card.measured:
            raise ValueError("evidence 'validated' needs a measured accuracy in the card")
        return self


class _BoundedLoader(yaml.SafeLoader):
    """YAML of plain values only: no aliases, no deep nesting, no key twice."""

    # Dates, sets and binary values have no place here, and their parsers have had faults.
    yaml_constructors: ClassVar[dict[Any, Any]] = {
        tag: constructor
        for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.removeprefix("tag:yaml.org,2002:") in _PLAIN_TAGS
    }
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed")
        self._depth += 1
        if self._depth > _MAX_YAML_DEPTH:
            raise yaml.constructor.ConstructorError(None, None, "nested too deeply")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if not all(isinstance(key, str) for key in keys):
            raise yaml.constructor.ConstructorError(None, None, "a key is not text")
        if len(set(keys)) != len(keys):
            raise yaml.constructor.ConstructorError(None, None, "a key appears twice")
        return super().construct_mapping(node, deep=deep)


def parse_manifest(text: bytes) -> Manifest:
    """Read the bytes of a `model.yaml`.

    Raises:
        ManifestInvalid: the bytes are too many, not plain YAML, or not a manifest.
    """
    if len(text) > MAX_MANIFEST_BYTES:
        raise ManifestInvalid((f"is larger than {MAX_MANIFEST_BYTES} bytes",))
    try:
        # _BoundedLoader is a SafeLoader: tags that make objects are errors.
        members = yaml.load(text, Loader=_BoundedLoader)  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ManifestInvalid((f"is not plain YAML: {error}",)) from error
    return to_manifest(members)


def to_manifest(members: object) -> Manifest:
    """Check the members of a manifest.

    Raises:
        ManifestInvalid: they do not make one.
    """
    if not isinstance(members, dict):
        raise ManifestInvalid(("is not a mapping",))
    try:
        return Manifest.model_validate(members)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise ManifestInvalid(
            tuple(
                ".".join(str(part) for part in fault["loc"]) + ": " + fault["msg"]
                if fault["loc"]
                else fault["msg"]
                for fault in found
            ),
            lacks_vectors=all(fault["type"] == NO_TEST_VECTORS for fault in found),
        ) from error


def dump_manifest(manifest: Manifest) -> str:
    """`manifest` as the text of a `model.yaml`."""
    members = manifest.model_dump(mode="json", exclude_none=True)
    for optional in [members, *members["test_vectors"]]:
        for name in ("raw_outputs", "samples", "output"):
            if not optional.get(name, True):
                del optional[name]
    return yaml.safe_dump(members, sort_keys=False, allow_unicode=True, width=100)


def manifest_json_schema() -> dict[str, Any]:
    """The JSON Schema of `model.yaml`, for editors and for the documentation."""
    schema = Manifest.model_json_schema()
    schema["title"] = "Vedette model package manifest (model.yaml)"
    return schema
