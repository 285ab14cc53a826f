"""Tables, audits, prepared datasets, packs, batches and augmentation."""
