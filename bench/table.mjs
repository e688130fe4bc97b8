/** The results as people read them. */

const LABELS = {
  direct: 'no proxy',
  bare: 'bare pass-through',
  dispatch: 'the barest',
  prototype: 'the least that syncs twice',
  keybrake: 'keybrake, durable ledger',
  postgres_1: 'keybrake on Postgres',
  postgres_3: 'the same, 3 replicas',
};

export function describeProxy({ connections, instant_vendor, slow_vendor, one_connection, disk_sync_ms }) {
  const { added_p50_ms } = one_connection;
  const added = (name) => milliseconds(added_p50_ms[name]);
  return [
    `Proxy, ${connections} connections, a vendor that answers at once (worst case)`,
    ...rows(instant_vendor),
    `  keybrake / bare: ${ratioOf(instant_vendor)}   aim: 0.7 or more`,
    `  keybrake / the barest: ${instant_vendor.ratio_to_dispatch.toFixed(2)}`,
    `  the least that syncs twice / bare: ${instant_vendor.prototype_to_bare.toFixed(2)}`,
    ...onPostgres(instant_vendor),
    '',
    `Proxy, ${connections} connections, a vendor that takes ${slow_vendor.vendor_ms} ms`,
    ...rows(slow_vendor),
    `  keybrake / bare: ${ratioOf(slow_vendor)}`,
    '',
    'Proxy, one connection, a vendor that answers at once',
    ...rows(one_connection),
    `  added to the median: bare ${added('bare')}, the least that syncs twice ${added('prototype')}, keybrake ${added('keybrake')}   aim: 0.8 ms or less`,
    `  one sync of this disk: ${milliseconds(disk_sync_ms)}; a call waits for two`,
  ];
}

function rows(figures) {
  return [
    line('', 'calls/s', 'p50', 'p99'),
    ...Object.entries(LABELS).flatMap(([name, label]) => {
      if (figures[name] === undefined) return [];
      const { calls_per_second, p50_ms, p99_ms } = figures[name];
      return [line(label, whole(calls_per_second), milliseconds(p50_ms), milliseconds(p99_ms))];
    }),
  ];
}

function onPostgres({ postgres_to_sqlite: ratio, postgres_3_to_1: three }) {
  if (ratio === undefined) return ['  Postgres was left out: its programs are not to be had here'];
  return [
    `  one replica on Postgres / SQLite: ${ratio.toFixed(2)}   aim: 0.4 or more`,
    `  three replicas / one, all on this machine: ${three.toFixed(2)}`,
  ];
}

export function describePipeline({ window, single, chunked }) {
  const { beam_per_second: beam } = chunked;
  return [
    `Pipeline, one activity for each record, ${window} in flight`,
    pipelineHead(),
    pipelineRow('nothing, as by default', single.noop_per_second, single.cpu_ms.noop),
    pipelineRow('nothing, as a paid call', single.paid_noop_per_second, single.cpu_ms.paid_noop),
    pipelineRow('pipelineRun', single.keybrake_per_second, single.cpu_ms.keybrake),
    `  pipelineRun / nothing as a paid call: ${spread(single.ratio_to_paid_noop, single.ratio_to_paid_noop_range)}   aim: 0.8 or more`,
    `  pipelineRun / nothing as by default: ${spread(single.ratio_to_noop, single.ratio_to_noop_range)}`,
    '',
    `Pipeline, chunks of ${chunked.chunk} records, ${window} in flight`,
    pipelineHead(),
    line('Beam, direct runner, no cap', beam === null ? 'left out' : whole(beam)),
    pipelineRow('pipelineRun', chunked.keybrake_per_second, chunked.cpu_ms.keybrake),
    ...(beam === null
      ? []
      : [`  pipelineRun / Beam: ${spread(chunked.ratio_to_beam, chunked.ratio_to_beam_range)}   aim: 5 or more`]),
  ];
}

const PROCESSES = ['temporal', 'worker', 'proxy', 'vendor', 'total'];

function pipelineHead() {
  return line('', 'records/s', ...PROCESSES);
}

/** `cpu`: milliseconds of processor time for a record, by process. */
function pipelineRow(label, perSecond, cpu) {
  return line(label, whole(perSecond), ...(cpu === null ? [] : PROCESSES.map((name) => milliseconds(cpu[name]))));
}

export function describePeers({ cap_calls: cap, usd_per_call: usd, burst, vendor_ms: vendorMs, peers }) {
  const over = (peer, parallel) => {
    const found = peer.bursts.find((each) => each.parallel === parallel);
    return found === undefined ? 'no cap' : `$${found.overshoot_usd}`;
  };
  const rates = ({ calls_per_second: rate }) => whole(rate);
  const ours = peers.keybrake?.calls_per_second;
  return [
    `Peers: calls a second at a vendor that answers at once; dollars above a cap of ${cap} calls of $${usd},`,
    `${burst} calls at a vendor that takes ${vendorMs} ms`,
    line('', 'calls/s', 'ours is', 'over at 50', 'over at 200'),
    ...Object.entries(peers).map(([name, peer]) =>
      peer === null
        ? line(name, 'left out')
        : `${line(name, rates(peer), ours ? `${(ours / peer.calls_per_second).toFixed(1)} x` : '', over(peer, 50), over(peer, 200))}   ${peer.says ?? ''}`,
    ),
  ];
}

export function describeMillion({ records, seconds, tenths, memory_mib: memory, histories, ...rest }) {
  const first = tenths[0].per_second;
  const { vendor, ledger, audit } = rest;
  return [
    `One run of ${whole(records)} records in chunks, on ${rest.store}: ${rest.status} after ${whole(seconds)} s, ${whole(rest.per_second)} records/s`,
    line('tenth', 'records/s', 'of the first', 'proxy MiB', 'worker MiB'),
    ...tenths.map(({ tenth, per_second: speed, proxy_mib: proxy, worker_mib: worker }) =>
      line(String(tenth), whole(speed), (speed / first).toFixed(2), whole(proxy), whole(worker)),
    ),
    `  peak memory: proxy ${memory.proxy} MiB, worker ${memory.worker} MiB; ledger ${whole(rest.ledger_mib)} MiB on disk`,
    `  vendor executed ${whole(vendor.charges)} charges, $${vendor.usd}; ledger: $${ledger.settled_usd} settled, $${ledger.held_usd} held`,
    `  results file: ${whole(rest.results_lines)} lines; audit log: ${whole(audit.rows)} rows in ${audit.seconds.toFixed(1)} s, proxy grew ${audit.proxy_grew_mib} MiB`,
    `  ${histories.runs} workflow runs; longest history ${whole(histories.longest_events)} events, largest ${whole(histories.largest_kib)} KiB, largest payload seen ${histories.largest_payload_kib.toFixed(1)} KiB`,
  ];
}

function line(label, ...cells) {
  return `  ${label.padEnd(28)}${cells.map((cell) => cell.padStart(12)).join('')}`;
}

function ratioOf({ ratio_to_bare: ratio, ratio_range: range }) {
  return spread(ratio, range);
}

function spread(ratio, [low, high]) {
  return `${ratio.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
}

function whole(value) {
  return Math.round(value).toLocaleString('en-US');
}

function milliseconds(value) {
  return `${value.toFixed(value < 10 ? 2 : 1)} ms`;
}
