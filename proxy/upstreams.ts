/** The hosts of a vendor behind one account. Which one a call goes to is told by the first segment of its path. */
import { Forwarder, type Sent, type Upstream } from './forward';
import type { Vendor } from './vendors/vendor';

/** Sends a call once, like {@link Forwarder}. */
export interface Sender {
  send(call: Upstream, mayLeave: () => string | undefined): Promise<Sent>;
  close(): Promise<void>;
}

/**
 * A vendor's own hosts, each with its connections; or `upstream`, a stand-in, which gets every path as the proxy has
 * it: `/verify/v2/…` too.
 */
export function openUpstreams(vendor: Vendor, upstream: string | undefined, timeoutMs: number): Sender {
  const main = new Forwarder({ origin: upstream ?? vendor.origin, timeoutMs });
  if (upstream !== undefined || vendor.hosts === undefined) return main;
  const hosts = new Map(
    Object.entries(vendor.hosts).map(([name, origin]) => [name, new Forwarder({ origin, timeoutMs })]),
  );
  return {
    send(call, mayLeave) {
      const [, first = ''] = call.path.split('/', 2);
      const host = hosts.get(first);
      if (host === undefined) return main.send(call, mayLeave);
      return host.send({ ...call, path: call.path.slice(first.length + 1) }, mayLeave);
    },
    async close() {
      await Promise.all([main, ...hosts.values()].map((forwarder) => forwarder.close()));
    },
  };
}
