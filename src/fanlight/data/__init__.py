"""From files to batches: landmark files, indexes, augmentation, data sets, synthetic faces."""
