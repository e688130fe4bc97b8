/** The hosts of a vendor behind one account. Which one a call goes to is told by the first segment of its path. */
import { Forwarder, type Sent, type Upstream } from './forward';
import type { Vendor } from './vendors/vendor';

/** Sends a call once, like {@link Forwarder}. */
export interface Sender {
  send(call: Upstream, mayLeave: () => string | undefined): Promise<Sent>;
  close(): Promise<void>;
}

/** A vendor's own hosts, each with its connections; or `upstream`, a stand-in for all of them. */
export function openUpstreams(vendor: Vendor, upstream: string | undefined, timeoutMs: number): Sender {
  const main = new Forwarder({ origin: upstream ?? vendor.origin, timeoutMs });
  if (vendor.hosts === undefined) return main;
  const hosts = new Map(
    Object.entries(vendor.hosts).map(([name, origin]) => {
      return [name, upstream === undefined ? new Forwarder({ origin, timeoutMs }) : main];
    }),
  );
  return {
    send(call, mayLeave) {
      const [, first = ''] = call.path.split('/', 2);
      const host = hosts.get(first);
      // The segment is the proxy's own: the host does not know it.
      if (host !== undefined) return host.send({ ...call, path: call.path.slice(first.length + 1) }, mayLeave);
      return main.send(call, mayLeave);
    },
    async close() {
      await Promise.all([...new Set([main, ...hosts.values()])].map((forwarder) => forwarder.close()));
    },
  };
}
