/** A user's own activities over Twilio and Resend, which note their attempts. */
import { activityInfo } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { vault } from '../../activities';

const FROM = '+15005550006';

export function vendorActivities(attempts: Map<string, number>) {
  const noted = (what: string): void => void attempts.set(what, (attempts.get(what) ?? 0) + 1);
  return {
    /** A text, and a second one for the same record. */
    async text(id: string, texts = 2): Promise<string[]> {
      noted(`text ${id}`);
      const sids: string[] = [];
      for (const suffix of ['first', 'second'].slice(0, texts)) {
        const { twilio } = vault(id, suffix);
        const { sid } = await twilio.messages.create({ to: '+14155561000', from: FROM, body: `${suffix} to ${id}` });
        sids.push(sid);
      }
      return sids;
    },
    /** An e-mail, whose first attempt loses the answer. */
    async mail(id: string): Promise<string> {
      noted(`mail ${id}`);
      const { resend } = vault(id);
      const { data } = await resend.emails.send({ from: 'a@b.test', to: [`${id}@d.test`], subject: id, text: 't' });
      if (activityInfo().attempt === 1) throw ApplicationFailure.retryable('lost', 'test.lost');
      return data?.id ?? 'none';
    },
  };
}
