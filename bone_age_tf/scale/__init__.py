"""Reads archives of radiographs on many processes or machines, with Apache Beam or Spark.

`scoring` turns the bytes of one radiograph into one row of results; everything else here lists what
is to be read, divides it into parts, and has an engine read the parts.
"""
