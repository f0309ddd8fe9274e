/** What a model card says of a model that was chosen within a budget. */
import { percent } from '../../core/figures.ts';
import type { AutoCandidate, AutoResult } from '../auto.ts';
import { definition, ratioText } from '../build/ship.ts';
import { times } from '../build/verdict.ts';

/** The section of the model card. */
export function chosenText({ budget, evaluation, bench, benchUniform, candidates }: AutoResult): string {
  const [test] = evaluation.modes;
  const texts = evaluation.texts.map(({ name }) => name).join(', ');
  const klBound = test.klUpperBound === null ? '' : ` (below ${test.klUpperBound.toFixed(4)} likewise)`;
  const [dense] = bench.subjects;
  const { speedup } = bench;
  const speed = speedup === null ? '' : `${times(speedup)} the speed of dense ${dense.name}`;
  const { speedup: overUniform = null, subjects = [] } = benchUniform ?? {};
  const rival =
    overUniform === null
      ? ''
      : subjects[0].name === dense.name
        ? ', which is the fastest of one precision within the budget'
        : `; ${times(overUniform)} that of dense ${subjects[0].name}, the fastest of one precision`;
  return `## Measured

The fastest model within the budget \`${budget}\`. On ${texts}, which nothing else has read, against the
checkpoint's floats: perplexity ratio ${ratioText(test.perplexityRatio)} (± is the standard error, in parentheses what the
ratio is below with a confidence of 95 %), KL divergence ${test.meanKl.toFixed(4)} nats${klBound}, same top-1 ${percent(test.top1Agreement)}, ${test.scoredTokens} tokens.

- ${definition('all')}

Decoding: ${speed}${rival}; median and 80 % of the rounds, on the machine that built it.

Models that were measured on the text for choosing:

| blocks | size, MB | expected ms a token | KL expected | KL | ratio | of the budget |
| ------ | -------: | ------------------: | ----------: | -: | ----- | ------------: |
${candidates.map(candidateRow).join('\n')}
`;
}

function candidateRow({ blocks, bytes, seconds, kl, shown, used, isChosen }: AutoCandidate): string {
  const stored = Object.entries(blocks).map(([dtype, count]) => `${count} ${dtype}`);
  const cells = [
    `${stored.join(', ')}${isChosen ? ' (chosen)' : ''}`,
    (bytes / 1e6).toFixed(0),
    (1000 * seconds).toFixed(2),
    kl?.toFixed(4) ?? '',
    shown.kl.value.toFixed(4),
    ratioText(shown.ratio),
    percent(used, 0),
  ];
  return `| ${cells.join(' | ')} |`;
}
