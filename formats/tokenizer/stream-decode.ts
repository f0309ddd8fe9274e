/** Token ids -> text, one at a time: never half a character. The pieces together equal decoding all at once. */
import * as z from 'zod';
import { LacunaError } from '../../src/core/errors.ts';

export interface StreamDecoder {
  /** Text that is certain after this token; '' while a character is incomplete. */
  push(id: number): string;
  /** The text that was held back. An incomplete character becomes U+FFFD. The decoder cannot be used any more. */
  end(): string;
}

const step = z.discriminatedUnion('type', [
  z.object({ type: z.literal('ByteLevel') }),
  z.object({ type: z.literal('Replace'), pattern: z.object({ String: z.string() }), content: z.string() }),
  z.object({ type: z.literal('ByteFallback') }),
  z.object({ type: z.literal('Fuse') }),
  z.object({
    type: z.literal('Strip'),
    content: z.string().length(1),
    start: z.int().nonnegative(),
    stop: z.literal(0),
  }),
]);

const decoderSchema = z.union([step, z.object({ type: z.literal('Sequence'), decoders: z.array(step) })]);

type Step = z.infer<typeof step>;

/** The steps of the `decoder` of a tokenizer.json, by when they apply. */
export interface DecodePlan {
  readonly tokenBytes: (token: string) => Uint8Array;
  /** Removed from the start of the whole text, up to `count` times. */
  readonly strip: { readonly content: string; readonly count: number };
}

/**
 * Reads the `decoder` of a tokenizer.json. Those of the LLaMA and Gemma families are byte-level, or replace, fall back
 * to bytes, fuse and strip, in this order. Others are refused as 'unsupported'.
 */
export function decodePlan(decoder: unknown, path: string): DecodePlan {
  const parsed = decoderSchema.safeParse(decoder);
  const steps = !parsed.success ? [] : parsed.data.type === 'Sequence' ? parsed.data.decoders : [parsed.data];
  const order = steps.map(({ type }) => `${type} `).join('');
  if (order === 'ByteLevel ') return { tokenBytes: byteLevelBytes, strip: { content: '', count: 0 } };
  if (steps.length > 0 && /^(Replace )*(ByteFallback )?(Fuse (Strip )?)?$/.test(order)) return sequencePlan(steps);
  const shown = (JSON.stringify(decoder) ?? 'none').slice(0, 200);
  throw new LacunaError('unsupported', `${path}: its decoder is not one of those built here: ${shown}`, {
    hint: 'Tokenizers of LLaMA and Gemma models are supported.',
  });
}

function sequencePlan(steps: readonly Step[]): DecodePlan {
  const replacements = steps.filter((entry) => entry.type === 'Replace');
  const fallsBack = steps.some(({ type }) => type === 'ByteFallback');
  const strip = steps.find((entry) => entry.type === 'Strip');
  const tokenBytes = (token: string): Uint8Array => {
    const text = replacements.reduce((sum, { pattern, content }) => sum.replaceAll(pattern.String, content), token);
    const byte = fallsBack ? /^<0x([0-9A-Fa-f]{2})>$/.exec(text) : null;
    return byte === null ? utf8.encode(text) : Uint8Array.of(Number.parseInt(byte[1], 16));
  };
  return { tokenBytes, strip: { content: strip?.content ?? '', count: strip?.start ?? 0 } };
}

const utf8 = new TextEncoder();

/** A token with characters outside the byte alphabet (an added one) stands for its own UTF-8. */
function byteLevelBytes(token: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of token) {
    const byte = BYTE_OF_CHARACTER.get(character);
    if (byte === undefined) return utf8.encode(token);
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

/** GPT-2's alphabet: printable Latin-1 characters are their own byte, the other bytes are U+0100 and on, in order. */
const BYTE_OF_CHARACTER: ReadonlyMap<string, number> = new Map(byteAlphabet());

function* byteAlphabet(): Generator<[string, number]> {
  let others = 0;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
    yield [String.fromCharCode(printable ? byte : 0x100 + others++), byte];
  }
}

/** Decodes a stream of tokens. `bytesOf` gives their bytes; `undefined` adds nothing (unknown or skipped). */
export function openStreamDecoder(
  { strip }: DecodePlan,
  bytesOf: (id: number) => Uint8Array | undefined,
): StreamDecoder {
  // ignoreBOM: a byte order mark inside text is an ordinary character.
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let toStrip = strip.count;
  const stripped = (text: string): string => {
    let start = 0;
    for (; start < text.length && toStrip > 0; toStrip--) {
      if (text[start] === strip.content) start++;
      else toStrip = 1;
    }
    return text.slice(start);
  };
  return {
    push: (id) => stripped(decoder.decode(bytesOf(id), { stream: true })),
    end: () => stripped(decoder.decode()),
  };
}
