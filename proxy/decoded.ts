/** Answers that a vendor compresses although it was asked not to: what moved must be read all the same. */
import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate } from 'node:zlib';

const DECODERS: Readonly<Record<string, (body: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>>> = {
  br: promisify(brotliDecompress),
  deflate: promisify(inflate),
  gzip: promisify(gunzip),
  'x-gzip': promisify(gunzip),
};

/**
 * The body as it was before the codings of its `Content-Encoding`, the last of which comes off first (RFC 9110, 8.4);
 * as it is where one is not known, or the body is not of it, or more than `bytesMax`: such an answer says nothing.
 */
export async function decoded(codings: string, body: Buffer, bytesMax: number): Promise<Buffer> {
  let plain = body;
  for (const coding of codings.toLowerCase().split(',').toReversed()) {
    if (coding.trim() === 'identity') continue;
    const decode = DECODERS[coding.trim()];
    if (decode === undefined) return body;
    try {
      plain = await decode(plain, { maxOutputLength: bytesMax });
    } catch {
      return body;
    }
  }
  return plain;
}
