/** Asks until it is so. For what another process or socket does, of which no event tells. */
export async function until<T>(what: string, ask: () => T | undefined | Promise<T | undefined>): Promise<T> {
  for (let tries = 0; tries < 1_000; tries += 1) {
    const found = await ask();
    if (found !== undefined && found !== false) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`It did not happen within 10 s: ${what}`);
}
