"""The web page that reads radiographs in the browser; imports neither TensorFlow nor Keras."""
