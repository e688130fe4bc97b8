/** The names that a template such as `/emails/:id` finds in a path, or undefined where it does not fit. */
export function matchPath(template: string, path: string): Readonly<Record<string, string>> | undefined {
  const parts = template.split('/');
  const segments = path.split('/');
  if (parts.length !== segments.length) return undefined;
  const found: Record<string, string> = {};
  for (const [at, part] of parts.entries()) {
    const segment = segments[at] ?? '';
    if (!part.startsWith(':')) {
      if (part !== segment) return undefined;
      continue;
    }
    if (segment === '') return undefined;
    found[part.slice(1)] = unescaped(segment);
  }
  return found;
}

function unescaped(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
