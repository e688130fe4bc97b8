/** Which route of a vendor's table an endpoint of a run's input means. Pure. */
import { distance } from 'fastest-levenshtein';
import { routeShape, type VendorView } from '../proxy/endpoints';
import { parseTemplate } from './template';

export type RouteView = VendorView['routes'][number];

/** An endpoint with {@link FIELD} where a record fills something in. */
export interface EndpointShape {
  readonly method: string;
  readonly target: string;
  readonly segments: readonly string[];
}

/** In the path, a template stands for one segment or a part of it. */
export const FIELD = '{{}}';
/** The account of a Twilio key, which the worker fills in. */
export const ACCOUNT_SEGMENT = '{AccountSid}';

/** Undefined: its templates cannot be read, or it is not a method, one space and a path. */
export function shapeOf(endpoint: string): EndpointShape | undefined {
  const template = parseTemplate(endpoint);
  if (!template.ok) return undefined;
  const shape = template.parts.map((part) => (typeof part === 'string' ? part : FIELD)).join('');
  const [method = '', target = '', ...rest] = shape.split(' ');
  return rest.length > 0 ? undefined : { method, target, segments: target.split('/').slice(1) };
}

/** The route that such calls are of; a literal segment before an id. */
export function routeOf({ routes }: VendorView, call: EndpointShape): RouteView | undefined {
  const fitting = routes.filter(({ endpoint }) => fits(endpoint, call));
  return fitting.toSorted((a, b) => idsIn(a) - idsIn(b))[0];
}

/** The route that an entry of an allowlist names; an id in it may be written `:id`, `{id}` or `*`. */
export function routeNamed({ routes }: VendorView, entry: string): RouteView | undefined {
  return routes.find(({ endpoint }) => routeShape(endpoint) === routeShape(entry));
}

/** The route that is the fewest edits away. */
export function nearestRoute({ routes }: VendorView, endpoint: string): string | undefined {
  const asked = routeShape(endpoint.slice(0, NAME_CHARS_MAX));
  const ranked = routes.map((route) => ({ route, edits: distance(asked, routeShape(route.endpoint)) }));
  return ranked.toSorted((a, b) => a.edits - b.edits)[0]?.route.endpoint;
}

const NAME_CHARS_MAX = 200;

function fits(endpoint: string, { method, segments }: EndpointShape): boolean {
  const [own, path = ''] = endpoint.split(' ');
  const wanted = path.split('/').slice(1);
  if (own !== method || wanted.length !== segments.length) return false;
  return wanted.every((name, index) => fitsSegment(name, segments[index] ?? ''));
}

/** `:Sid.json` is an id with a suffix. */
function fitsSegment(name: string, segment: string): boolean {
  const [id, suffix = ''] = /^:\w+(\.\w+)?$/.exec(name) ?? [];
  return id === undefined ? name === segment : segment.endsWith(suffix) && segment.length > suffix.length;
}

function idsIn({ endpoint }: RouteView): number {
  return endpoint.split('/:').length;
}
