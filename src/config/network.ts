/** Addresses: what is loopback, what may be plain text, and where a vendor secret may go. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIPv4 } from 'node:net';
import { createSecureContext } from 'node:tls';
import type { Complaints } from './complaints';
import { type Environment, isServiceLink, read } from './variables';

/** Does the host name this machine only? */
export function isLoopback(host: string): boolean {
  const name = host.replace(/^\[|\]$/g, '').toLowerCase();
  return name === 'localhost' || name === '::1' || (isIPv4(name) && name.startsWith('127.'));
}

/** Reads a whole number of a port. */
export function readPort(env: Environment, name: string, complaints: Complaints): number | undefined {
  const text = read(env, name);
  // A Service `keybrake` of Kubernetes is told of under the name of the setting.
  if (text === undefined || isServiceLink(name, text)) return undefined;
  if (/^\d{1,5}$/.test(text) && Number(text) <= 65_535) return Number(text);
  return complaints.add(name, 'is not a port.', 'Give a whole number from 0 (any free port) to 65535.');
}

/** Reads an http(s) origin: no path, no credentials, no query. */
export function parseOrigin(setting: string, text: string, complaints: Complaints): URL | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const plain = url !== undefined && (url.pathname === '/' || url.pathname === '') && url.search + url.hash === '';
  if (plain && /^https?:$/.test(url.protocol) && url.username + url.password === '') return url;
  return complaints.add(setting, 'is not an http(s) address.', 'Write it like https://host:port, without a path.');
}

/** Reads `KEYBRAKE_URL`. Keys must not travel beyond loopback in plain text unless that is asked for. */
export function readProxyUrl(env: Environment, complaints: Complaints): URL | undefined {
  return readAddress(env, 'KEYBRAKE_URL', 'would send keys in plain text beyond this machine.', complaints);
}

/** Reads `KEYBRAKE_CALLBACK_URL`. What vendors post names people's telephone numbers. */
export function readCallbackUrl(env: Environment, complaints: Complaints): URL | undefined {
  const problem = 'would have telephone numbers posted in plain text.';
  return readAddress(env, 'KEYBRAKE_CALLBACK_URL', problem, complaints);
}

function readAddress(env: Environment, name: string, inPlainText: string, complaints: Complaints): URL | undefined {
  const text = read(env, name);
  if (text === undefined) return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username + url.password + url.search !== '') {
    return complaints.add(name, 'is not an http(s) address.', 'Write it like http://127.0.0.1:8787.');
  }
  if (url.protocol === 'http:' && !isLoopback(url.hostname) && !allowsPlaintext(env)) {
    return complaints.add(
      name,
      inPlainText,
      'Use https, or set KEYBRAKE_ALLOW_PLAINTEXT=1 where the network is trusted.',
    );
  }
  return url;
}

/** Refuses to listen beyond loopback without TLS, unless `KEYBRAKE_ALLOW_PLAINTEXT=1`. Answers the PEM texts. */
export function readTls(
  env: Environment,
  host: string,
  complaints: Complaints,
): { cert: string; key: string } | undefined {
  const cert = readPem(env, 'KEYBRAKE_TLS_CERT', 'CERTIFICATE', complaints);
  const key = readPem(env, 'KEYBRAKE_TLS_KEY', 'PRIVATE KEY', complaints);
  const named = ['KEYBRAKE_TLS_CERT', 'KEYBRAKE_TLS_KEY'].filter((name) => read(env, name) !== undefined);
  if (named.length === 1) {
    const missing = named[0] === 'KEYBRAKE_TLS_CERT' ? 'KEYBRAKE_TLS_KEY' : 'KEYBRAKE_TLS_CERT';
    complaints.add(missing, `is not set, but ${named[0]} is.`, 'TLS needs both: set it too, or unset the other.');
  }
  if (named.length === 0 && !isLoopback(host) && !allowsPlaintext(env)) {
    complaints.add(
      'KEYBRAKE_HOST',
      'is reached beyond this machine, and there is no TLS, so vault keys would travel in plain text.',
      'Set KEYBRAKE_TLS_CERT and KEYBRAKE_TLS_KEY, or KEYBRAKE_ALLOW_PLAINTEXT=1 behind something that ends TLS.',
    );
  }
  if (cert === undefined || key === undefined || !checkPair(cert, key, complaints)) return undefined;
  return { cert, key };
}

/** What the server would stumble over when it starts. */
function checkPair(cert: string, key: string, complaints: Complaints): boolean {
  const certificate = made(() => new X509Certificate(cert));
  const privateKey = made(() => createPrivateKey(key));
  if (certificate.value === undefined) {
    const problem = 'names a file whose certificate cannot be read.';
    complaints.add('KEYBRAKE_TLS_CERT', problem, 'Give the PEM of the certificate, and of those above it.');
  }
  if (privateKey.value === undefined) {
    const encrypted = /ENCRYPTED/.test(key);
    const problem = encrypted ? 'names a key that is encrypted.' : 'names a file whose private key cannot be read.';
    complaints.add('KEYBRAKE_TLS_KEY', problem, 'Give the key in plain PEM: openssl pkey -in KEY -out PLAIN');
  }
  if (certificate.value === undefined || privateKey.value === undefined) return false;
  return checkFit(certificate.value, privateKey.value, { cert, key }, complaints);
}

function checkFit(
  certificate: X509Certificate,
  privateKey: KeyObject,
  pair: { readonly cert: string; readonly key: string },
  complaints: Complaints,
): boolean {
  if (!certificate.checkPrivateKey(privateKey)) {
    const remedy = 'Give the key of the first certificate in the file, or put that first.';
    complaints.add('KEYBRAKE_TLS_KEY', 'is not the key of the certificate that KEYBRAKE_TLS_CERT names.', remedy);
    return false;
  }
  const { code } = made(() => createSecureContext(pair));
  if (code === undefined) return true;
  complaints.add('KEYBRAKE_TLS_CERT', `cannot be used with its key (${code}).`, 'Give another pair.');
  return false;
}

function made<T>(make: () => T): { value: T; code?: never } | { value?: never; code: string } {
  try {
    return { value: make() };
  } catch (error) {
    return { code: (error as NodeJS.ErrnoException).code ?? 'no reason given' };
  }
}

function readPem(env: Environment, name: string, label: string, complaints: Complaints): string | undefined {
  const path = read(env, name);
  if (path === undefined) return undefined;
  const { text, code } = readText(path);
  if (text === undefined) {
    return complaints.add(
      name,
      `names ${path}, which cannot be read (${code}).`,
      'Correct the path, or who may read it.',
    );
  }
  if (text.includes(`${label}-----`)) return text;
  return complaints.add(name, `names ${path}, which holds no PEM ${label.toLowerCase()}.`, 'Correct the path.');
}

/** The text of a file, or the system's code of why it cannot be read. */
export function readText(path: string): { text: string; code?: never } | { text?: never; code: string } {
  try {
    return { text: readFileSync(path, 'utf8') };
  } catch (error) {
    return { code: (error as NodeJS.ErrnoException).code ?? String(error) };
  }
}

/** Anything but 1 or 0 has been complained about already. */
function allowsPlaintext(env: Environment): boolean {
  return (read(env, 'KEYBRAKE_ALLOW_PLAINTEXT') ?? '0') !== '0';
}
