/** Reads a text from standard input. */
import { addAbortSignal, type Readable } from 'node:stream';
import { LacunaError } from '../core/errors.ts';
import { decodeUtf8 } from '../core/text.ts';

/** More than the context of any model, so an endless stream is not read for ever. */
const MAX_BYTES = 16 << 20;

/** A whole stream as text, without the line break at its end. Throws `bad-file` if it is not text. */
export async function readText(stdin: Readable, signal: AbortSignal): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of addAbortSignal(signal, stdin)) {
    const part = Buffer.from(chunk);
    bytes += part.length;
    if (bytes > MAX_BYTES)
      throw new LacunaError('bad-file', `Standard input is longer than ${MAX_BYTES >> 20} MiB`, {
        hint: 'Pipe a shorter prompt.',
      });
    chunks.push(part);
  }
  const refuse = (cause: unknown) => new LacunaError('bad-file', 'Standard input is not UTF-8', { cause });
  const text = decodeUtf8(Buffer.concat(chunks), refuse).replace(/\r?\n$/, '');
  if (text !== '') return text;
  throw new LacunaError('usage', 'Standard input is empty, but the prompt must come from it', {
    hint: 'Pipe a text: echo "In the beginning" | lacuna run DIR -',
  });
}
