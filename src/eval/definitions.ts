/** What each number of an evaluation means, as `eval` and `bench` print it and docs/evaluation.md states it. */

export const DEFINITIONS = {
  perplexity:
    'exp of the mean negative log-likelihood (natural logarithm) of the scored tokens. The text is encoded without ' +
    'special tokens and cut into windows that do not overlap; a last part shorter than a window is dropped. Each ' +
    'window starts with an empty cache, and with the BOS token where the tokenizer prepends one. Every token of a ' +
    'window is scored but its first.',
  perplexityRatio:
    'perplexity of the sparse model divided by perplexity of its dense baseline, both on the same scored tokens. Its ' +
    "standard error is the ratio times the standard error, over windows, of the window's mean difference in negative " +
    'log-likelihood.',
  meanKl:
    'KL(dense || sparse) in nats: the sum over the vocabulary of p (log p - log q), with p the dense and q the sparse ' +
    "model's distribution of the next token, averaged over scored tokens.",
  top1Agreement: 'share of scored tokens for which both models hold the same token to be the likeliest.',
  all: 'mode "all": every token of a window runs sparse, from an empty cache.',
  decode:
    'mode "decode": the dense model reads the first half of each window; both models then continue from its cache, and ' +
    'the tokens of the second half are scored but its first.',
  density:
    'neurons computed / (tokens for which the block ran x FFN neurons), over the positions whose logits are scored; ' +
    '1 for a block without a selector.',
  skippedShare: 'FFN blocks skipped / (tokens x layers), over the positions whose logits are scored.',
  computedShare: 'neurons computed / (tokens x layers x FFN neurons): density and skipping together.',
  decodeTokensPerSecond:
    'tokens / seconds while one token a call is decoded, batch 1, over the blocks of a round; the median over the rounds ' +
    'of all repeats, with the 10th and 90th percentile. The tokens fed are those of the text, so no sampling is timed; the native core ' +
    'computes the logits that greedy decoding wants.',
  prefillTokensPerSecond: 'tokens of the prompt / seconds for the one call that reads it, from an empty cache.',
  speedup:
    'time of the first model / time of the second for the same tokens. A round times four blocks in the order first, ' +
    'second, second, first, in one process; a repeat opens both models anew and times a few rounds. The median over the ' +
    'rounds of all repeats, with the 10th and 90th percentile.',
  ffnBytesPerToken: 'bytes of FFN weights read for one decoded token, as the plan expects.',
  weightBytesPerToken:
    'bytes of all matrices read for one decoded token: attention, the FFN as the plan expects, and the output head, ' +
    'of which the native core reads half of each code in 8 bits.',
  bandwidthShare:
    'weightBytesPerToken times decodeTokensPerSecond, divided by what as many threads read from memory in order.',
} as const;

export type DefinedMetric = keyof typeof DEFINITIONS;
