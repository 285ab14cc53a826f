"""The detector of the ossification regions: data, network, training, figures and use."""
