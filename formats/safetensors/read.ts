/** Opens safetensors files. Only the header is read, and tensors stay on disk as ranges of the file. */
import type { FileHandle } from 'node:fs/promises';
import { decodeUtf8 } from '../../src/core/text.ts';
import { lfsPointerError, readHeaderBytes, withRegular } from '../regular-file.ts';
import { badFile, parseHeader, type SafetensorsFile } from './header.ts';

/** Bytes before the header: its length, little-endian. */
export const LENGTH_BYTES = 8;

/** The format's own limit for the header: about a million tensors. It stops a length that asks for all memory. */
export const MAX_HEADER_BYTES = 100_000_000;

/** What stands in a large file's place when a repository was cloned without Git LFS begins so. */
const LFS_POINTER = 'version ';

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
  return withRegular(path, async (file, size) => {
    const text = await readHeaderText(file, path, size);
    const dataStart = LENGTH_BYTES + Buffer.byteLength(text);
    return parseHeader(text, { path, dataStart, dataLength: size - dataStart, mustBeFinite });
  });
}

async function readHeaderText(file: FileHandle, path: string, fileLength: number): Promise<string> {
  const refuse = (what: string, cause?: unknown) => badFile(path, what, cause);
  if (fileLength < LENGTH_BYTES)
    throw refuse(`it has ${fileLength} bytes, fewer than the ${LENGTH_BYTES} of a header length`);
  const prefix = await readHeaderBytes(file, 0, LENGTH_BYTES, refuse);
  if (prefix.toString('latin1') === LFS_POINTER) throw lfsPointerError(path);
  const headerLength = prefix.readBigUInt64LE();
  if (headerLength > BigInt(MAX_HEADER_BYTES))
    throw refuse(`its header claims ${headerLength} bytes; the limit of the format is ${MAX_HEADER_BYTES}`);
  if (LENGTH_BYTES + Number(headerLength) > fileLength)
    throw refuse(`its header claims ${headerLength} bytes, but the file has ${fileLength}: it is truncated`);
  const bytes = await readHeaderBytes(file, LENGTH_BYTES, Number(headerLength), refuse);
  const notText = (cause: unknown) => refuse('its header is no UTF-8 text', cause);
  return decodeUtf8(bytes, notText, { ignoreBOM: true });
}
