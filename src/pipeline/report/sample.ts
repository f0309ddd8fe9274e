/** The beginning of a text, and what each of its tokens computes in a sparse model. */
import { loadTokenizer } from '../../../formats/tokenizer/index.ts';
import { LacunaError } from '../../core/errors.ts';
import { leavesOut } from '../../core/plan.ts';
import { sharesByToken } from '../../eval/index.ts';
import type { Sample } from '../../report/figures.ts';
import { type MeasuringJob, openMeasuredSession } from '../engine/measured-session.ts';
import { openModelFolder } from '../folder/model-folder.ts';
import { encodeTexts } from '../texts/texts.ts';

/** A screen of text, and past the warm-up of every plan seen. */
const TOKENS = 160;

/**
 * Runs the first of the texts in one call, as evaluation runs its windows.
 *
 * @throws LacunaError `usage` for a model that leaves nothing out.
 */
export async function sampleOf(path: string, data: readonly string[], options: MeasuringJob): Promise<Sample> {
  const { modelPath, graph, manifest } = await openModelFolder(path);
  const { plan, spec } = manifest;
  if (!leavesOut(plan))
    throw new LacunaError('usage', `${path} leaves nothing out: every token of a text computes all of it`, {
      hint: 'Leave --sample out.',
    });
  const tokenizer = await loadTokenizer(path);
  const [text] = await encodeTexts(data.slice(0, 1), tokenizer);
  const { bosTokenId } = tokenizer;
  const start = bosTokenId === undefined ? [] : [bosTokenId];
  const ids = [...start, ...text.tokens].slice(0, Math.min(TOKENS, spec.contextLength));
  const session = await openMeasuredSession(modelPath, graph, options);
  const { extras } = await session.step(ids, session.emptyCache()).finally(() => session.close());
  const shares = sharesByToken(extras, ids.length, spec);
  const pieces = piecesOf(ids, tokenizer);
  return { text: text.name, tokens: pieces.map((piece, at) => ({ text: piece, ...shares[at] })) };
}

/** What each token adds to the text: nothing, while the bytes of a character are not all there. */
function piecesOf(ids: readonly number[], tokenizer: Awaited<ReturnType<typeof loadTokenizer>>): readonly string[] {
  const decoder = tokenizer.streamDecoder();
  const pieces = ids.map((id) => decoder.push(id));
  const last = pieces.length - 1;
  return pieces.map((piece, at) => (at === last ? piece + decoder.end() : piece));
}
