/** A text that is piped in. */
import { addAbortSignal, type Readable } from 'node:stream';
import { LacunaError } from '../core/errors.ts';
import { decodeUtf8 } from '../core/text.ts';

/** More than any model's context: what never ends is not read for ever. */
const MAX_BYTES = 16 << 20;

/** All of a stream as text, without the line break that ends a file's last line. Throws `bad-file` for what is no text. */
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
  throw new LacunaError('usage', 'Standard input is empty, and the prompt is to come from there', {
    hint: 'Pipe a text: echo "In the beginning" | lacuna run DIR -',
  });
}
