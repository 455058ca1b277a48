"""From the dataset on disk to batches on the device: decoding, caching, prefetching, sampling, augmentation."""
