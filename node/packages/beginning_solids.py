"""The beginning of outputs of volumes: solids, part by part, and numbers that are measured."""

from __future__ import annotations

from node.packages.draft import ManifestDraft, guessed_code, guessed_label
from node.toml_file import quoted

MOST_PARTS = 32
"""As many as a manifest may name."""
_VOLUME = '{ value = "118565006", scheme = "SCT", meaning = "Volume" }'


def ask_solids(draft: ManifestDraft, tensor: str, parts: int) -> None:
    """Write what holds for all parts of a tensor [1, parts, slices, rows, columns]."""
    draft.ask(
        f"Marks {parts} {'parts' if parts > 1 else 'part'}, voxel by voxel, above which number?"
    )
    draft.write("threshold = 0.5")
    draft.ask("Each part breast by breast (breasts), or one volume for both (none)?")
    draft.write('split = "breasts"')
    draft.write("# curve = true    # enhancement over time, within the first part")
    draft.write("# smallest_ml = 0.05    # what is smaller, of a part and a side, counts as none")


def write_parts(draft: ManifestDraft, tensor: str, parts: int) -> None:
    """Write a table for each part, with what may be said of it in comments."""
    for number in range(1, parts + 1):
        draft.write("", "[[outputs.parts]]")
        if number == 1:
            draft.ask(
                "What are the parts called in reports, in the order of the tensor's channels? "
                '"enhancing volume" gives "R breast enhancing volume".'
            )
        name = guessed_label(tensor)[:56]
        label = f"{name} {number}" if parts > 1 else name
        draft.write(f"label = {quoted(label)}")
        if number == 1:
            draft.ask_codes("What each part is")
        end = f"F{number}" if parts > 1 else "F"
        draft.write(
            f"finding = {guessed_code(tensor, end, f'Part {number}')}", f"volume = {_VOLUME}"
        )
        if number == 2:
            first = quoted(f"{name} 1")
            draft.write(
                f"# of = {first}    # if it is a share of that: its volume is said beside it",
                "# left_out = true    # if it is no part of what is measured: drawn, not counted",
                '# needs = ["late"]    # if without that phase there is none',
            )


def write_number(draft: ManifestDraft, tensor: str) -> None:
    """Write a number [1, 1] that is measured on all that is read."""
    draft.ask(
        'A number that is measured, such as a ratio or ml? Of a probability write kind = "score", '
        "and in place of quantity, unit and decimals: score, with a code."
    )
    draft.ask('What is it called in reports? "ratio" gives "Exam ratio".')
    draft.write(f"label = {quoted(guessed_label(tensor))}")
    draft.write('# about = "R breast"    # of one breast; a table for the other, with "L breast"')
    draft.ask_codes("What is measured")
    draft.write(f"quantity = {guessed_code(tensor, '', 'Number')}")
    draft.ask("In which unit, as UCUM writes it (mm, ml, %, 1), and with how many decimals?")
    draft.write('unit = { value = "1", scheme = "UCUM", meaning = "no units" }', "decimals = 2")
    draft.write(
        '# needs = ["late"]    # without that phase it is not given',
        '# none_if = "nothing enhances"    # what it means that the network answers NaN',
    )
