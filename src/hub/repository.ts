/** How models on the Hub are named, and the contents of a model's repository. */
import * as z from 'zod';
import { isTooDeep } from '../../formats/json-file.ts';
import { LacunaError } from '../core/errors.ts';
import { type Requester, repeatedly, request } from './http.ts';

export interface HubReference {
  /** `owner/name`. */
  readonly id: string;
  /** Branch, tag or commit. */
  readonly revision: string;
  /** Part of the name of a GGUF file, for example `Q4_K_M`. */
  readonly gguf: string | undefined;
}

const NAME = '[A-Za-z0-9][A-Za-z0-9._-]*';
const REFERENCE = new RegExp(`^(${NAME}/${NAME})(?:@([\\w./-]+))?(?::([\\w.-]+))?$`);

/** The parts of `owner/name[@revision][:gguf]`; undefined if `text` has another form. */
export function parseHubReference(text: string): HubReference | undefined {
  const match = REFERENCE.exec(text);
  if (match === null) return undefined;
  const [, id, revision = 'main', gguf] = match;
  // Names become folders of the cache and parts of addresses.
  return [...id.split('/'), ...revision.split('/')].some((part) => part === '' || /^\.+$/.test(part))
    ? undefined
    : { id, revision, gguf };
}

export interface RemoteFile {
  readonly name: string;
  readonly bytes: number;
  /** For large files the sha256 of the content, for others git's SHA-1. */
  readonly hash: { readonly kind: 'sha256' | 'git'; readonly hex: string };
}

export interface Repository {
  readonly commit: string;
  readonly files: readonly RemoteFile[];
}

const commit = z.string().regex(/^[0-9a-f]{40}$/);
const bytes = z.int().nonnegative();

const schema = z.object({
  sha: commit,
  siblings: z.array(
    z.object({
      rfilename: z.string(),
      size: bytes,
      blobId: commit,
      lfs: z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/), size: bytes }).nullish(),
    }),
  ),
});

/** A repository of thousands of files takes some hundred bytes for each. */
const MAX_LISTING_BYTES = 64 << 20;

/** Lists a repository. Throws as `fetchCheckpoint` does. */
export async function listRepository(requester: Requester): Promise<Repository> {
  const { reference, hub } = requester;
  const address = `${hub.endpoint}/api/models/${reference.id}/revision/${encodeURIComponent(reference.revision)}?blobs=true`;
  const text = await repeatedly(
    requester,
    () => request(address, requester, {}, ({ blocks }) => readListing(blocks, address)),
    ({ message, cause }) =>
      new LacunaError('io', `Cannot look up ${reference.id}: ${message}`, {
        cause,
        hint: 'Check the connection, or give the folder of a checkpoint that is here.',
      }),
  );
  return parse(text, address);
}

async function readListing(blocks: AsyncIterable<Uint8Array>, address: string): Promise<string> {
  const read: Uint8Array[] = [];
  let bytes = 0;
  for await (const block of blocks) {
    read.push(block);
    bytes += block.length;
    if (bytes > MAX_LISTING_BYTES)
      throw noHub(`${address} sends a list of more than ${MAX_LISTING_BYTES} bytes, far above any real one`);
  }
  return Buffer.concat(read).toString('utf8');
}

/** What is no answer of the Hub. */
export function noHub(message: string): LacunaError {
  return new LacunaError('bad-file', message, { hint: 'Check HF_ENDPOINT: it must be the Hub or a mirror of it.' });
}

function parse(text: string, address: string): Repository {
  const parsed = schema.safeParse(jsonOrNull(text));
  if (!parsed.success) throw noHub(`${address} gave no list of a model's files: ${text.slice(0, 80)}`);
  const files = parsed.data.siblings.map(({ rfilename: name, size, blobId, lfs }): RemoteFile => {
    if (lfs) return { name, bytes: lfs.size, hash: { kind: 'sha256', hex: lfs.sha256 } };
    return { name, bytes: size, hash: { kind: 'git', hex: blobId } };
  });
  // A name that is listed a thousand times would be fetched a thousand times.
  const byName = new Map(files.map((file) => [file.name, file]));
  return { commit: parsed.data.sha, files: [...byName.values()] };
}

function jsonOrNull(text: string): unknown {
  try {
    return isTooDeep(text) ? null : JSON.parse(text);
  } catch {
    return null;
  }
}
