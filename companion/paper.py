"""The paper's own tables, experiments/paper.yml."""

import pandas as pd

from companion.profiles import read_data


def paper_table(name: str = "table_a") -> pd.DataFrame:
    """One of the paper's tables, its seed "paper"; rows that it quotes from another article have `reference` True.

    Raises ValueError naming the tables of the file when `name` is none of them.
    """
    tables = read_data("paper.yml")
    if name not in tables:
        raise ValueError(f"experiments/paper.yml has no table {name!r}; it has {', '.join(tables)}")
    table = pd.DataFrame(tables[name]["rows"])
    table["reference"] = table.get("reference", pd.Series(False, index=table.index)).eq(True)
    if "setting" in table:
        table["views"] = table.setting.str[0]
        table["frames"] = table.setting.str[1:].replace("*", "49").astype(int)
    return table.assign(seed="paper")
