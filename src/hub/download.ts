/** Downloads one file. It resumes after a stop and checks size and hash. The file appears whole or not at all. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { LacunaError, throwIfAborted } from '../core/errors.ts';
import { asIoError } from '../core/io-error.ts';
import { passing, type Requester, repeatedly, request } from './http.ts';
import { noHub, type RemoteFile } from './repository.ts';

export interface Download {
  readonly file: RemoteFile;
  readonly commit: string;
  readonly folder: string;
  /** Called with the number of new bytes (negative when bytes must be fetched again). */
  readonly advance: (bytes: number) => void;
}

/**
 * Downloads into `<folder>/<name>.part`, which stays after a stop, and renames it at the end.
 *
 * Throws 'io' when the network fails for good or the disk refuses, 'bad-file' when the content is not what the Hub
 * says, 'interrupted', or an error of `request`.
 */
export async function downloadFile(download: Download, requester: Requester): Promise<void> {
  const { file, folder } = download;
  const part = join(folder, `${file.name}.part`);
  try {
    await mkdir(dirname(part), { recursive: true });
    const handle = await open(part, 'a');
    try {
      let done = (await handle.stat()).size;
      if (done > file.bytes) {
        await handle.truncate(0);
        done = 0;
      }
      download.advance(done);
      await fetchRest(handle, done, download, requester);
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw asIoError(error, 'write', part);
  }
  await checkHash(part, download);
  await rename(part, join(folder, file.name));
}

async function fetchRest(
  handle: FileHandle,
  start: number,
  { file, commit, advance }: Download,
  requester: Requester,
): Promise<void> {
  const { reference, hub, signal } = requester;
  const address = `${hub.endpoint}/${reference.id}/resolve/${commit}/${encodeURIComponent(file.name)}`;
  let done = start;
  // Bytes that come a second time are no progress. Otherwise a server that always starts from the beginning would be
  // asked for ever.
  let furthest = start;
  await repeatedly(
    requester,
    async (progressed) => {
      if (done >= file.bytes) return;
      const range: Record<string, string> = done === 0 ? {} : { range: `bytes=${done}-` };
      await request(address, requester, range, async ({ status, blocks }) => {
        if (done > 0 && status !== 206) {
          // The server sends the whole file again.
          await handle.truncate(0);
          advance(-done);
          done = 0;
        }
        for await (const block of blocks) {
          throwIfAborted(signal);
          if (done + block.length > file.bytes) throw tooLong(file, address);
          await handle.appendFile(block);
          done += block.length;
          advance(block.length);
          if (done > furthest) progressed();
          furthest = Math.max(furthest, done);
        }
      });
      if (done < file.bytes) throw passing(`the connection ended after ${done} of ${file.bytes} bytes`);
    },
    ({ message, cause }) =>
      new LacunaError('io', `Cannot download ${file.name} of ${reference.id}: ${message}`, {
        cause,
        hint: 'Run the same command again when the network is back: it continues where it was.',
      }),
  );
}

function tooLong({ name, bytes }: RemoteFile, address: string): LacunaError {
  return noHub(`${address} sends more than the ${bytes} bytes that ${name} has`);
}

async function checkHash(part: string, { file, folder }: Download): Promise<void> {
  const { kind, hex } = file.hash;
  const hash = createHash(kind === 'sha256' ? 'sha256' : 'sha1');
  if (kind === 'git') hash.update(`blob ${file.bytes}\0`);
  for await (const block of createReadStream(part, { highWaterMark: 1 << 20 })) hash.update(block);
  const found = hash.digest('hex');
  if (found === hex) return;
  // If it stayed, every later attempt would fail.
  await rm(part, { force: true });
  throw new LacunaError('bad-file', `${join(folder, file.name)} came with the hash ${found}, wanted is ${hex}`, {
    hint: 'Run the same command again: the file is downloaded anew.',
  });
}
