"""Configuration: the schema with its defaults, a list of all settings, nested settings, presets, and their errors."""

from marnet.config.listing import SettingInfo, list_settings
from marnet.config.schema import (
    OWN_BACKBONE,
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
    "OWN_BACKBONE",
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
    "SettingInfo",
    "TextConfig",
    "TrainingConfig",
    "list_settings",
    "make_config",
    "read_config",
    "write_config",
]
