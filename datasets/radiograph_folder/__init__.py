"""A user's own radiographs: a CSV table beside PNG, JPEG or DICOM files."""
