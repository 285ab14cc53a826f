"""A DICOM node beside a PACS: receives radiographs, reads them, and sends the results back.

`spool` holds the state on the disk, `receiver` takes radiographs, `worker` reads them, `sender` and
`peers` send the results. Needs the extra `node`.
"""
