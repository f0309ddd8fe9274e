// Converts a checkpoint and says what that cost: node examples/measure.mts CHECKPOINT DIR (or compiled, before Node 22.18)
import { convert, type EvaluateResult, evaluate, LacunaError } from 'lacuna';

const [checkpoint, folder] = process.argv.slice(2);
await convert({ checkpoint, output: `${folder}/fp32` });
await convert({ checkpoint, output: `${folder}/int4`, dtype: 'int4' });

function ratioOf({ modes }: EvaluateResult): string {
  const [{ perplexityRatio, scoredTokens }] = modes;
  return `${perplexityRatio.value.toFixed(4)} ± ${perplexityRatio.standardError?.toFixed(4)} (${scoredTokens} tokens)`;
}

try {
  const measured = await evaluate({ folder: `${folder}/int4`, against: `${folder}/fp32`, tokens: 1000 });
  console.log(`perplexity of int4 over that of the floats: ${ratioOf(measured)}`);
} catch (error) {
  if (!(error instanceof LacunaError)) throw error;
  console.error(error.message, error.hint);
}
