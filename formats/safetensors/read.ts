/** Opens safetensors files. Only the header is read, and tensors stay on disk as ranges of the file. */
import type { FileHandle } from 'node:fs/promises';
import { LacunaError } from '../../src/core/errors.ts';
import { asIoError } from '../../src/core/io-error.ts';
import { openRegular } from '../regular-file.ts';
import { badFile, parseHeader, type SafetensorsFile } from './header.ts';

/** Bytes before the header: its length, little-endian. */
export const LENGTH_BYTES = 8;

/**
 * The format's own limit for the header. It stops a length that asks for all memory. 100 MB name about a million
 * tensors.
 */
export const MAX_HEADER_BYTES = 100_000_000;

/** The start of the placeholder for a large file when a repository was cloned without Git LFS. */
const LFS_POINTER = new TextEncoder().encode('version ');

export interface ReadOptions {
  /** Float tensors with NaN or infinity are refused while their bytes are read. */
  readonly mustBeFinite?: boolean;
}

/**
 * The tensors of one safetensors file, in the order of their bytes, and its metadata.
 *
 * Throws 'not-found' or 'io' when the file cannot be read, 'bad-file' when it is damaged (truncated, tensors that
 * overlap or leave gaps, sizes that do not agree), 'unsupported' for an unknown element type.
 *
 * @example const { tensors } = await readSafetensors('model.safetensors', { mustBeFinite: true });
 */
export async function readSafetensors(
  path: string,
  { mustBeFinite = false }: ReadOptions = {},
): Promise<SafetensorsFile> {
  const handle = await openRegular(path);
  try {
    const { text, dataStart, fileLength } = await readHeader(handle, path);
    return parseHeader(text, { path, dataStart, dataLength: fileLength - dataStart, mustBeFinite });
  } catch (error) {
    throw asIoError(error, 'read', path);
  } finally {
    await handle.close();
  }
}

async function readHeader(
  handle: FileHandle,
  path: string,
): Promise<{ readonly text: string; readonly dataStart: number; readonly fileLength: number }> {
  const { size: fileLength } = await handle.stat();
  if (fileLength < LENGTH_BYTES)
    throw badFile(path, `it has ${fileLength} bytes, fewer than the ${LENGTH_BYTES} of a header length`);
  const prefix = await readRange(handle, path, 0, LENGTH_BYTES);
  if (LFS_POINTER.every((byte, i) => prefix[i] === byte)) throw lfsPointerError(path);
  const headerLength = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  if (headerLength > BigInt(MAX_HEADER_BYTES))
    throw badFile(path, `its header claims ${headerLength} bytes; the limit of the format is ${MAX_HEADER_BYTES}`);
  const dataStart = LENGTH_BYTES + Number(headerLength);
  if (dataStart > fileLength)
    throw badFile(path, `its header claims ${headerLength} bytes, but the file has ${fileLength}: it is truncated`);
  const bytes = await readRange(handle, path, LENGTH_BYTES, Number(headerLength));
  return { text: decodeUtf8(bytes, path), dataStart, fileLength };
}

function lfsPointerError(path: string): LacunaError {
  return new LacunaError('bad-file', `${path} is a Git LFS pointer, not the file itself`, {
    hint: 'Run `git lfs pull` in its folder.',
  });
}

async function readRange(handle: FileHandle, path: string, start: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, length - done, start + done);
    if (bytesRead === 0) throw badFile(path, `it ended at byte ${start + done} while its header was read`);
    done += bytesRead;
  }
  return bytes;
}

function decodeUtf8(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw badFile(path, 'its header is no UTF-8 text', error);
  }
}
