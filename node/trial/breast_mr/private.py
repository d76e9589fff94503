"""The private elements that scanners write into breast MRI; sources by the letters of styles.py."""

from __future__ import annotations

from pydicom import Dataset

from node.trial.breast_mr.styles import Vendor


def add_private(
    dataset: Dataset, vendor: Vendor, phases: int, images: int, b_value: int | None
) -> None:
    """Write the private elements of a vendor into one object of a series."""
    if vendor is Vendor.SIEMENS and b_value is not None:
        block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0C, "IS", b_value)  # A5
        block.add_new(0x0D, "CS", "ISOTROPIC" if b_value else "NONE")  # A5, A6
    elif vendor is Vendor.GE:
        _add_ge(dataset, images)
    elif vendor is Vendor.PHILIPS:
        block = dataset.private_block(0x2001, "Philips Imaging DD 001", create=True)
        block.add_new(0x03, "FL", float(b_value or 0))  # B1
        block.add_new(0x12, "CS", "Y" if phases > 1 else "N")  # B1: [Dynamic Series]
        block.add_new(0x18, "SL", images)  # B1: [Number of Slices MR]
        block.add_new(0x21, "CS", "Y" if "FS" in (dataset.ScanOptions or "") else "N")  # B1: [SPIR]
        block.add_new(0x81, "IS", phases)  # B1: [Number of Dynamic Scans]


def _add_ge(dataset: Dataset, images: int) -> None:
    block = dataset.private_block(0x0019, "GEMS_ACQU_01", create=True)
    # D1: the name of the pulse sequence; breast dynamics are "efgre3d".
    if dataset.MRAcquisitionType == "3D":
        block.add_new(0x9C, "LO", "efgre3d")
    block.add_new(0xA4, "SS", int("FS" in (dataset.ScanOptions or "")))  # D1: fat saturation
    block = dataset.private_block(0x0021, "GEMS_RELA_01", create=True)
    block.add_new(0x4F, "SS", images)  # D1, D3: locations in acquisition, of one phase
