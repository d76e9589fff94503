"""Recipe of models/breast-density: grade F/G/D of a film, learnt from mini-MIAS.

`python -m node.training.breast_density DATASET_FOLDER --help` says how. `films` reads the data
set and imagines other detectors, `network` is what is shipped, `learning` trains it, `figures`
measures it and needs no torch.
"""
