"""`vadis tables`: the work behind the verb; prints to standard output and returns the exit code."""

from __future__ import annotations

import sys

from vadis.formats import use_utf8
from vadis.inspection import print_json
from vadis.tables import list_tables, read_table
from vadis.tables.grid import make_console, print_list, print_table, to_csv, to_dict, to_markdown


def run_tables(name: str | None, form: str) -> int:
    """All tables or one. form: "table", "json", "csv" or "markdown"."""
    tables = list_tables() if name is None else [read_table(name)]
    use_utf8(sys.stdout)
    if form == "json":
        print_json(
            [to_dict(table, with_cells=False) for table in tables] if name is None else to_dict(tables[0])
        )
    elif form == "csv":
        sys.stdout.write(to_csv(tables))
    elif form == "markdown":
        sys.stdout.write("\n".join(to_markdown(table) for table in tables))
    elif name is None:
        print_list(tables, make_console(sys.stdout))
    else:
        print_table(tables[0], make_console(sys.stdout))
    return 0
