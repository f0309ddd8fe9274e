/**
 * sentencepiece's BPE with byte fallback, as in LLaMA 1 and 2 and in Gemma: spaces are "▁". It has no merges. A pair
 * may merge when its union is a piece, and the best-scored piece comes first. Written as merges, for tokenizer.json.
 */
import { badGguf } from '../cursor.ts';
import { type GgmlTokenizer, TOKEN_TYPE } from './metadata.ts';
import { bpeModel, type Merge, surroundings, type TokenizerParts } from './parts.ts';

const SPACE = '▁';

export function sentencepieceBpe(tokenizer: GgmlTokenizer): TokenizerParts {
  const { tokens, unknown_token_id: unknown = 0, add_space_prefix: hasPrefix = true } = tokenizer;
  const pieces = piecesOf(tokenizer);
  const scores = scoresOf(tokenizer);
  const spaces = { type: 'Replace', pattern: { String: ' ' }, content: SPACE };
  const undoSpaces = { type: 'Replace', pattern: { String: SPACE }, content: ' ' };
  const steps = [undoSpaces, { type: 'ByteFallback' }, { type: 'Fuse' }];
  const prefixed = { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: SPACE }, spaces] };
  return {
    normalizer: hasPrefix ? prefixed : spaces,
    pre_tokenizer: null,
    post_processor: surroundings(tokenizer, tokenizer.add_bos_token ?? true),
    decoder: {
      type: 'Sequence',
      decoders: hasPrefix ? [...steps, { type: 'Strip', content: ' ', start: 1, stop: 0 }] : steps,
    },
    tokens: pieces,
    model: () => {
      const options = { unknown: tokens[unknown], byteFallback: true, ignoreMerges: false };
      return bpeModel(pieces, mergesOf(pieces, scores), options);
    },
  };
}

/** GGUF holds user-defined runs of spaces as spaces. */
function piecesOf({ tokens, token_type: types }: GgmlTokenizer): string[] {
  return tokens.map((token, id) => (types?.[id] === TOKEN_TYPE.userDefined ? token.replaceAll(' ', SPACE) : token));
}

/** GGUF gives any score to a piece that is not ordinary; sentencepiece gives 0. */
function scoresOf({ scores, token_type: types, path }: GgmlTokenizer): number[] {
  if (scores === undefined) throw badGguf(path, 'its sentencepiece tokenizer has no tokenizer.ggml.scores');
  return scores.map((score, id) => ((types?.[id] ?? TOKEN_TYPE.normal) === TOKEN_TYPE.normal ? score : 0));
}

interface Candidate {
  readonly score: number;
  readonly left: string;
  readonly right: string;
  /** In code points. */
  readonly leftLength: number;
  readonly rightLength: number;
}

/** Best score first. Among splits of one piece, the longest left part comes first, as in Transformers' converter. */
function mergesOf(pieces: readonly string[], scores: readonly number[]): Merge[] {
  const known = new Set(pieces);
  const found = pieces.flatMap((piece, id) => splitsOf(piece, scores[id], known));
  found.sort((a, b) => b.score - a.score || b.leftLength - a.leftLength || b.rightLength - a.rightLength);
  return found.map(({ left, right }) => [left, right]);
}

function splitsOf(piece: string, score: number, known: ReadonlySet<string>): Candidate[] {
  const characters = [...piece];
  const splits: Candidate[] = [];
  for (let at = 0, leftLength = 1; leftLength < characters.length; leftLength++) {
    at += characters[leftLength - 1].length;
    const [left, right] = [piece.slice(0, at), piece.slice(at)];
    if (known.has(left) && known.has(right))
      splits.push({ score, left, right, leftLength, rightLength: characters.length - leftLength });
  }
  return splits;
}
