"""The engine's errors.

    EngineError                 code "engine_error"
    ├── InvalidImageError       code "invalid_image"      one photograph cannot be used (file, size, pixels)
    ├── TooFewImagesError       code "too_few_images"     no photograph at all
    ├── NoOverlapError          code "no_overlap"         two or more photographs and no pair that holds
    ├── OptionsError            code "invalid_options"    an option's name or value is not known
    ├── IntrinsicsError         code "invalid_intrinsics" a camera that cannot be, or that belongs to another image
    ├── PriorsError             code "invalid_priors"     what is said about the photographs beforehand cannot be
    ├── ReferencesError         code "invalid_references" no reference photo, too many of them, or poses that are none
    ├── StoredDataError         code "invalid_stored_data" bytes of a reference or a map that are damaged or of another version
    ├── ForeignNetworkError     code "foreign_network"    a reference or a map that another network encoded
    ├── MapError                code "invalid_map"        a reconstruction that cannot become a map, or maps without a photograph
    ├── DatasetError            code "invalid_dataset"    an evaluation data set or submission that cannot be read
    ├── CheckpointError         code "invalid_checkpoint" weights that are wrong, truncated, foreign or malicious
    ├── NetworkOutputError      code "invalid_prediction" a network gave NaN, a wrong shape or no descriptors where needed
    ├── ExportError             code "export_failed"      a reconstruction cannot become what a format holds, or a library lacks
    ├── TrainingError           code "training_failed"    a training config, data set or run that cannot be used
    └── OutOfMemoryError        code "out_of_memory"      the device's or the process' memory did not suffice

Each message names the thing, the value that was wrong and what would be right.
"""

from __future__ import annotations


class EngineError(Exception):
    """Base of all errors that the engine raises on purpose; `code` is stable and machine-readable."""

    code: str = "engine_error"


class InvalidImageError(EngineError):
    """A photograph cannot be used; `name` says which one."""

    code = "invalid_image"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason

    def __reduce__(self) -> tuple[type[InvalidImageError], tuple[str, str]]:
        return InvalidImageError, (self.name, self.reason)


class TooFewImagesError(EngineError):
    """There is no photograph to work on."""

    code = "too_few_images"


class NoOverlapError(EngineError):
    """Two or more photographs were given and no pair of them could be tied together."""

    code = "no_overlap"


class OptionsError(EngineError):
    """An option has an unknown name or an impossible value."""

    code = "invalid_options"


class IntrinsicsError(EngineError):
    """A camera's intrinsics are impossible or belong to an image of another size."""

    code = "invalid_intrinsics"


class PriorsError(EngineError):
    """What is known beforehand about photographs is impossible, contradictory or about other photographs."""

    code = "invalid_priors"


class ReferencesError(EngineError):
    """The reference photographs or their poses cannot be used."""

    code = "invalid_references"


class StoredDataError(EngineError):
    """Bytes of a stored reference or map cannot be read."""

    code = "invalid_stored_data"


class ForeignNetworkError(EngineError):
    """A stored reference or map belongs to another network than the one that is loaded."""

    code = "foreign_network"


class MapError(EngineError):
    """A reconstruction cannot become a map, or the maps that were given cannot be searched."""

    code = "invalid_map"


class DatasetError(EngineError):
    """An evaluation data set or a submission is not in its format."""

    code = "invalid_dataset"


class CheckpointError(EngineError):
    """A checkpoint cannot be loaded."""

    code = "invalid_checkpoint"


class NetworkOutputError(EngineError):
    """A network returned something that cannot be used."""

    code = "invalid_prediction"


class TrainingError(EngineError):
    """A training config, a data set or a training run cannot be used."""

    code = "training_failed"


class ExportError(EngineError):
    """A reconstruction cannot be written in a format."""

    code = "export_failed"


class OutOfMemoryError(EngineError):
    """Memory did not suffice."""

    code = "out_of_memory"
