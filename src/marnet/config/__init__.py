"""What can be set: the schema with its defaults, nested settings, presets, and what is wrong with a value."""

from marnet.config.schema import (
    AlignmentConfig,
    BackboneConfig,
    ColumnNames,
    Config,
    DataConfig,
    FusionConfig,
    LateFusionConfig,
    LossConfig,
    ReconstructionConfig,
    Section,
    SemanticsConfig,
    TextConfig,
    TrainingConfig,
    make_config,
    read_config,
    write_config,
)

__all__ = [
    "AlignmentConfig",
    "BackboneConfig",
    "ColumnNames",
    "Config",
    "DataConfig",
    "FusionConfig",
    "LateFusionConfig",
    "LossConfig",
    "ReconstructionConfig",
    "Section",
    "SemanticsConfig",
    "TextConfig",
    "TrainingConfig",
    "make_config",
    "read_config",
    "write_config",
]
