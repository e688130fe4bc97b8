/** Twilio's older API answers XML wherever `.json` is not asked for. */

/** Writes an answer as `<TwilioResponse><Message><Sid>…`. */
export function toXml(name: string, body: object): string {
  return `<?xml version='1.0' encoding='UTF-8'?>\n<TwilioResponse>${element(name, body)}</TwilioResponse>`;
}

function element(name: string, value: unknown): string {
  if (value === null || value === undefined) return `<${name}/>`;
  return `<${name}>${content(value)}</${name}>`;
}

function content(value: unknown): string {
  if (Array.isArray(value)) return value.map((item) => element('Item', item)).join('');
  if (typeof value === 'string') return escaped(value);
  if (typeof value !== 'object' || value === null) return escaped(JSON.stringify(value));
  return Object.entries(value)
    .map(([name, item]) => element(pascal(name), item))
    .join('');
}

function pascal(name: string): string {
  return name.replaceAll(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
