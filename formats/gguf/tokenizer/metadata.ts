/** The tokenizer's part of a GGUF file's metadata, checked. */
import * as z from 'zod';
import type { LacunaError } from '../../../src/core/errors.ts';
import type { SpecialTokenIds } from '../architectures/architecture.ts';
import { badGguf, unsupportedGguf } from '../cursor.ts';
import { type GgufMetadata, valuesUnder } from '../header.ts';

const PREFIX = 'tokenizer.ggml.';

/** `enum llama_token_type`. */
export const TOKEN_TYPE = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

const id = z.int().nonnegative().optional();

const schema = z.object({
  model: z.string(),
  pre: z.string().optional(),
  tokens: z.array(z.string()).min(1),
  scores: z.array(z.number()).optional(),
  token_type: z.array(z.int().min(0).max(6)).optional(),
  merges: z.array(z.string()).optional(),
  bos_token_id: id,
  eos_token_id: id,
  eot_token_id: id,
  eom_token_id: id,
  unknown_token_id: id,
  padding_token_id: id,
  add_bos_token: z.boolean().optional(),
  add_eos_token: z.boolean().optional(),
  add_space_prefix: z.boolean().optional(),
});

export interface GgmlTokenizer extends z.infer<typeof schema> {
  readonly path: string;
  readonly chatTemplate: string | undefined;
}

/** The tokenizer of a file, or undefined if it has none. Throws 'bad-file' when its parts do not agree. */
export function readGgmlTokenizer(metadata: GgufMetadata, path: string): GgmlTokenizer | undefined {
  const own = valuesUnder(PREFIX, metadata);
  if (Object.keys(own).length === 0 || own.model === 'no_vocab') return undefined;
  const parsed = schema.safeParse(own);
  if (!parsed.success)
    throw badGguf(path, `its keys "${PREFIX}…" are wrong:\n${z.prettifyError(parsed.error)}`.slice(0, 1000));
  const template = metadata.get('tokenizer.chat_template');
  const tokenizer = { ...parsed.data, path, chatTemplate: typeof template === 'string' ? template : undefined };
  checkSizes(tokenizer);
  return tokenizer;
}

function checkSizes(tokenizer: GgmlTokenizer): void {
  const { tokens, path } = tokenizer;
  for (const key of ['scores', 'token_type'] as const) {
    const length = tokenizer[key]?.length ?? tokens.length;
    if (length !== tokens.length)
      throw badGguf(path, `it has ${tokens.length} tokens, but ${length} of ${PREFIX}${key}`);
  }
  for (const [key, value] of Object.entries(tokenizer))
    if (key.endsWith('_token_id') && typeof value === 'number' && value >= tokens.length)
      throw badGguf(path, `${PREFIX}${key} is ${value}, but there are ${tokens.length} tokens`);
}

export function specialTokenIds(tokenizer: GgmlTokenizer | undefined): SpecialTokenIds {
  const ends = [tokenizer?.eos_token_id, tokenizer?.eot_token_id, tokenizer?.eom_token_id];
  return {
    bos: tokenizer?.bos_token_id,
    eos: [...new Set(ends.filter((end) => end !== undefined))],
    pad: tokenizer?.padding_token_id,
  };
}

export function unsupportedTokenizer({ path }: GgmlTokenizer, what: string): LacunaError {
  return unsupportedGguf(`${path}: its tokenizer ${what}`);
}
