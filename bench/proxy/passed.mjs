const NOT_PASSED = new Set(['host', 'connection', 'keep-alive', 'transfer-encoding', 'content-length']);

/** The headers that a pass-through hands on. */
export function passed(headers) {
  const shown = {};
  for (const name in headers) if (!NOT_PASSED.has(name)) shown[name] = headers[name];
  return shown;
}
