/** What the Temporal UI shows of a run: Markdown, in which others' words stay words. */
import { OUTCOMES, type OutcomeCounts } from '../activities/contract/plan';
import type { RunStatusView } from '../workflows/definitions';
import { detailsOf } from '../workflows/details';

const none = Object.fromEntries(OUTCOMES.map((outcome) => [outcome, 0])) as OutcomeCounts;
const VIEW: RunStatusView = {
  phase: 'ending',
  label: 'billing/2026-11-24',
  jobId: 'billing-2026-11-24',
  keyId: 'vk_1',
  keyState: 'revoked',
  usdCap: 50,
  spend: null,
  records: { ...none, total: null },
  inFlight: 0,
  reason: null,
};

function linesOf(view: Partial<RunStatusView>): string[] {
  return detailsOf({ ...VIEW, ...view }).split('\n');
}

test('names of a run stay within their code spans, whatever is in them', () => {
  const lines = linesOf({ label: 'x` ![i](http://x.example/i.png) `', jobId: 'a`\n\n# Paid\u2028b' });
  expect(lines.slice(-3)).toEqual([
    '- Key: `vk_1` (revoked)',
    "- Job: `a' # Paid b`",
    "- Label: `x' ![i](http://x.example/i.png) '`",
  ]);
  expect(linesOf({}).slice(-2)).toEqual(['- Job: `billing-2026-11-24`', '- Label: `billing/2026-11-24`']);
});

describe('the reason of a run', () => {
  const quoteOf = (reason: string): string[] => {
    const lines = linesOf({ reason });
    expect(lines).toHaveLength(linesOf({}).length + 2);
    return lines.filter((line) => line.startsWith('>'));
  };

  test('stays in its quote, whatever line breaks are in it', () => {
    expect(quoteOf('Revoked by signal: wrong\n\n**$0.00 spent**\r\n# All is well\u2028\u0085x')).toEqual([
      '> Revoked by signal: wrong \\*\\*USD 0.00 spent\\*\\* # All is well x',
    ]);
  });

  test.each([
    ['![i](http://x.example/i.png)', '!\\[i\\](http://x.example/i.png)'],
    ['<img src=x> &lt; `code` ~~no~~ a_b', '\\<img src=x\\> \\&lt; \\`code\\` \\~\\~no\\~\\~ a\\_b'],
    ['\\*a*', '\\\\\\*a\\*'],
    ['# Paid', '\\# Paid'],
    ['- one', '\\- one'],
    ['> one', '\\> one'],
    ['12. one', '12\\. one'],
    ['The cap of $50.00 is spent (see #1).', 'The cap of USD 50.00 is spent (see #1).'],
  ])('is text and no Markdown: %s', (reason, shown) => {
    expect(quoteOf(reason)).toEqual([`> ${shown}`]);
  });
});
