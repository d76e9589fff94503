"""Generated breast MRI: whole studies whose every voxel and every phase is known.

Nobody's data, the same pixels and UIDs every time. `body.py` says who lies in the magnet,
`raster.py` where the slices are, `anatomy.py` which tissue is where, `signal.py` what is seen of
it, `truth.py` what really enhances; `styles.py` how a scanner writes its headers, with the source
of each habit; `study.py` puts a study together, and `faults.py` spoils it on demand.
"""
