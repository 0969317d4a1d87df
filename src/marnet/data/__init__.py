"""From a data source to batches: manifests, decoded images, augmentation."""
