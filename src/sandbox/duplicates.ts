/** Executions that may be one execution done twice. */
export interface Duplicate {
  readonly of: string;
  readonly ids: readonly string[];
}

/** Groups the rows by what they are `of` (null: of nothing) and gives the groups of more than one. */
export function duplicatesBy<T extends { readonly id: string }>(
  rows: readonly T[],
  of: (row: T) => string | null,
): Duplicate[] {
  const groups = new Map<string, string[]>();
  for (const row of rows) {
    const name = of(row);
    if (name === null) continue;
    const ids = groups.get(name);
    if (ids === undefined) groups.set(name, [row.id]);
    else ids.push(row.id);
  }
  return [...groups].filter(([, ids]) => ids.length > 1).map(([name, ids]) => ({ of: name, ids }));
}
