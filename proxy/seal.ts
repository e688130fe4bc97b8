/** What the master key is for: vault keys are derived from it, stored answers are sealed under it. */
import {
  type CipherGCM,
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  hash,
  hkdfSync,
  type KeyObject,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import { closeSync, fsyncSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterwards } from './afterwards';
import { fewRandomBytes } from './ids';
import { syncFolderOf } from './stores/sqlite/syncFolder';
import type { MetaRow } from './stores/tables';

const VAULT_KEY = /^vk_([0-9a-z]{26})_([0-9a-f]{40})$/;
/** Name of the `meta` row that tells which master key the ledger was made with. */
export const MASTER_CHECK = 'master_check';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const SEAL_ID_BYTES = 4;

interface Master {
  readonly vault: Buffer;
  readonly seal: KeyObject;
  /** Tells which master key sealed an answer. */
  readonly sealId: Buffer;
  /** Stored in the ledger, so that a start with another key is noticed. */
  readonly check: string;
}

/** A cipher for one answer, before it is known which. */
interface Sealer {
  readonly nonce: Buffer;
  readonly cipher: CipherGCM;
}

export class Seal {
  readonly #masters: readonly Master[];
  /** The next answer's, made while nobody waits. */
  #sealer: Sealer | undefined;
  #isMaking = false;

  /** @param masterKeys newest first; each at least 32 characters. */
  constructor(masterKeys: readonly string[]) {
    if (masterKeys.length === 0) throw new Error('At least one master key is needed.');
    this.#masters = masterKeys.map(derive);
  }

  /** The vault key of a key id: the same each time, so that it need not be stored. */
  vaultKeyFor(keyId: string): string {
    return `vk_${keyId.slice('key_'.length)}_${mac(this.#newest.vault, keyId)}`;
  }

  /** The key id of a genuine vault key; undefined for anything else. Compares in constant time. */
  keyIdOf(vaultKey: string): string | undefined {
    const match = VAULT_KEY.exec(vaultKey);
    if (match === null) return undefined;
    const keyId = `key_${match[1]}`;
    const given = Buffer.from(match[2] ?? '');
    const genuine = this.#masters.some(({ vault }) => timingSafeEqual(Buffer.from(mac(vault, keyId)), given));
    return genuine ? keyId : undefined;
  }

  /** AES-256-GCM; `boundTo` must be given again to open, so that a row's answer cannot be moved to another row. */
  seal(plain: Buffer, boundTo: string): Buffer {
    const { nonce, cipher } = this.#sealer ?? this.#newSealer();
    if (!this.#isMaking) {
      this.#isMaking = true;
      afterwards(() => this.#makeSealer());
    }
    this.#sealer = undefined;
    const sealed = cipher.setAAD(Buffer.from(boundTo)).update(plain);
    // Of a stream cipher nothing is left for the end.
    cipher.final();
    return Buffer.concat([this.#newest.sealId, nonce, sealed, cipher.getAuthTag()]);
  }

  /** Is the master key given that it was sealed under? */
  knows(sealed: Buffer): boolean {
    return this.#masterOf(sealed) !== undefined;
  }

  /** Throws when the answer was sealed under a master key that is not given any more, or was tampered with. */
  open(sealed: Buffer, boundTo: string): Buffer {
    const master = this.#masterOf(sealed);
    if (master === undefined) throw new Error('A stored answer was sealed under a master key that is not given.');
    const nonce = sealed.subarray(SEAL_ID_BYTES, SEAL_ID_BYTES + NONCE_BYTES);
    const opener = createDecipheriv('aes-256-gcm', master.seal, nonce).setAAD(Buffer.from(boundTo));
    opener.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
    const plain = opener.update(sealed.subarray(SEAL_ID_BYTES + NONCE_BYTES, sealed.length - TAG_BYTES));
    return Buffer.concat([plain, opener.final()]);
  }

  /**
   * Compares with what the ledger was made with. Answers what to store; throws when none of the keys fits, since then
   * no vault key and no stored answer of this ledger could be read.
   * @param source where the keys stand, e.g. `KEYBRAKE_MASTER_KEY`.
   */
  checkAgainst(stored: MetaRow | undefined, source: string): MetaRow {
    const fits = stored === undefined || this.#masters.some(({ check }) => check === stored.value);
    if (!fits) {
      throw new Error(`${source} does not fit this ledger: give the key that it was made with, also as an older one.`);
    }
    return { name: MASTER_CHECK, value: this.#newest.check };
  }

  #makeSealer(): void {
    this.#isMaking = false;
    this.#sealer = this.#newSealer();
  }

  #newSealer(): Sealer {
    const nonce = fewRandomBytes(NONCE_BYTES);
    return { nonce, cipher: createCipheriv('aes-256-gcm', this.#newest.seal, nonce) };
  }

  #masterOf(sealed: Buffer): Master | undefined {
    const id = sealed.subarray(0, SEAL_ID_BYTES);
    return this.#masters.find(({ sealId }) => sealId.equals(id));
  }

  get #newest(): Master {
    return this.#masters[0] as Master;
  }
}

function derive(masterKey: string): Master {
  const key = (purpose: string) => Buffer.from(hkdfSync('sha256', masterKey, 'keybrake', purpose, 32));
  return {
    vault: key('vault key'),
    // Node 24 takes four times as long for a cipher whose key comes as bytes.
    seal: createSecretKey(key('sealed answer')),
    sealId: key('seal id').subarray(0, SEAL_ID_BYTES),
    check: key('check').toString('hex'),
  };
}

function mac(key: Buffer, keyId: string): string {
  return createHmac('sha256', key).update(keyId).digest('hex').slice(0, 40);
}

/** Makes the master key file of a new ledger, with mode 0600. It is whole and durable, or it is not there. */
export function makeMasterKeyFile(path: string): void {
  // `wx`: of two processes that start at once only one makes the file.
  const file = openSync(path, 'wx', 0o600);
  try {
    writeFileSync(file, `${randomBytes(32).toString('base64url')}\n`);
    fsyncSync(file);
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
  syncFolderOf(path);
}

/** Reads the master key file beside a SQLite ledger. */
export function masterKeyFile(path: string): readonly string[] {
  const keys = readFileSync(path, 'utf8').split(/\s+/).filter(Boolean);
  if (keys.length === 0) throw new Error(`The master key file ${path} is empty: restore it, or start on a new ledger.`);
  return keys;
}

/** SHA-256 in hex, shortened to 40 digits: names a claim's scope without keeping the client's key in an index. */
export function scopeHash(text: string): string {
  return hash('sha256', text).slice(0, 40);
}
